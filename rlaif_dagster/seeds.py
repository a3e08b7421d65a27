"""Seeds by content: every random choice derives from (root seed, purpose, identity of the record)."""

from rlaif_dagster.digest import Digest, JsonValue

SEED_BITS = 63
"""Seeds fit a signed 64-bit integer, which torch, numpy and parquet all accept."""


def derive_seed(root_seed: int, *identity: JsonValue) -> int:
    """Derives an independent seed in [0, 2**63) from a root seed and the purpose of the seed.

    Args:
        root_seed: The project's seed.
        identity: The purpose and the record, for example `"response", prompt_digest, index`.
    """
    digest = Digest.from_json([root_seed, *identity])
    return int(digest.sha256[:16], 16) >> (64 - SEED_BITS)
