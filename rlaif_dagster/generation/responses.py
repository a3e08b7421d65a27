"""A response: its identity by content, its row, and the table of responses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.prompts import normalise_prompt
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CUT: Final = 0.05
"""A larger share of cut answers causes a warning."""


def measure_share_cut(rows: Iterable[Row]) -> float | None:
    """Measures the share of cut responses among those with a known `finish_reason`; None without any."""
    is_cut = [row["finish_reason"] == "length" for row in rows if row["finish_reason"] is not None]
    return sum(is_cut) / len(is_cut) if is_cut else None


_ID_LENGTH = 16  # hex digits of a digest in an id, as for prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseKey:
    """Everything that decides a sampled response: (prompt, policy, sampling settings, root seed, index).

    Equal keys mean equal responses, so a response with a known key is never sampled again.

    Attributes:
        prompt: The prompt's text.
        policy: The digest (or name) of the policy.
        settings: How it samples.
        root_seed: The project's seed.
        index: The 0-based index of the response to the prompt.
    """

    prompt: str
    policy: str
    settings: PolicySampling
    root_seed: int
    index: int

    def to_json(self) -> JsonValue:
        """The key as a JSON array."""
        prompt = str(Digest.from_bytes(normalise_prompt(self.prompt).encode()))
        return [prompt, self.policy, self.settings.key(), self.root_seed, self.index]

    @property
    def response_id(self) -> str:
        """16 hex digits of the key's digest."""
        return Digest.from_json(self.to_json()).sha256[:_ID_LENGTH]

    @property
    def seed(self) -> int:
        """The response's own seed, in [0, 2**63)."""
        return derive_seed(self.root_seed, "response", self.to_json())


def identify_recorded_response(*, prompt_id: str, source: str, text: str) -> str:
    """Makes the id of a recorded response without one, from its prompt, source and text."""
    return Digest.from_json(["recorded", prompt_id, source, text]).sha256[:_ID_LENGTH]


def failed_responses_schema() -> "pa.Schema":
    """The columns of the table of responses that a policy's server did not give; `status` is `failed` or `refused`."""
    import pyarrow as pa

    texts = ("response_id", "prompt_id", "source", "status", "reason")
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in texts),
            pa.field("index", pa.int64(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
        ]
    )


def responses_schema() -> "pa.Schema":
    """The columns of the `sampled_responses` table.

    `source` is the digest of the policy that was sampled, or the name in a recorded file; `index` counts a prompt's
    responses from 0 (for recorded ones: in the order of the file); `seed` and `num_tokens` are null for recorded
    responses, and so is `finish_reason` if their file does not say it.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("response_id", pa.string(), nullable=False),
            pa.field("prompt_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            pa.field("seed", pa.int64()),
            pa.field("text", pa.string(), nullable=False),
            pa.field("num_tokens", pa.int64()),
            pa.field("finish_reason", pa.string()),
        ]
    )
