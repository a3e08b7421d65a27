"""Pairs: which answers to a prompt are compared with each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.digest import Digest
from rlaif_dagster.seeds import derive_seed


class PairingSettings(BaseModel):
    """How many comparisons each prompt gets."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_pairs_per_prompt: int | None = Field(default=None, ge=1)
    """The largest number of pairs per prompt; null compares every two different answers."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pair:
    """Two responses to one prompt; `response_a < response_b`, so that each pair has one id only."""

    pair_id: str
    prompt_id: str
    response_a: str
    response_b: str

    def __post_init__(self) -> None:
        if not self.response_a < self.response_b:
            raise ValueError(f"pair {self.pair_id}: {self.response_a!r} is not before {self.response_b!r}")

    @classmethod
    def from_responses(cls, prompt_id: str, one: str, other: str) -> "Pair":
        """Pairs two different response ids, given in any order."""
        a, b = sorted((one, other))
        pair_id = Digest.from_json([prompt_id, a, b]).sha256[:16]
        return cls(pair_id=pair_id, prompt_id=prompt_id, response_a=a, response_b=b)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsResult:
    """Pairs, sorted by prompt and responses, and what was left out.

    Attributes:
        pairs: The pairs.
        num_identical: Responses left out because another response to the prompt has the same text.
        num_single: Prompts without a pair, because they have fewer than two different texts.
        num_capped: Pairs left out by `max_pairs_per_prompt`.
    """

    pairs: tuple[Pair, ...]
    num_identical: int
    num_single: int
    num_capped: int


def form_pairs(
    responses: Iterable[Mapping[str, Any]], settings: PairingSettings, root_seed: int
) -> PairsResult:
    """Pairs the different texts of each prompt, using every response equally often.

    For responses with the same text, the one with the first id is used. If the cap leaves pairs out, the choice is
    seeded by the prompt, so that other prompts do not change it. The numbers of pairs that contain each response of a
    prompt then differ by at most one.

    Args:
        responses: Rows with `response_id`, `prompt_id` and `text`.
        settings: The cap.
        root_seed: The project's seed.
    """
    texts_by_prompt: dict[str, dict[str, str]] = {}
    num_responses = 0
    for row in responses:
        texts = texts_by_prompt.setdefault(row["prompt_id"], {})
        texts[row["text"]] = min(row["response_id"], texts.get(row["text"], row["response_id"]))
        num_responses += 1
    pairs: list[Pair] = []
    num_capped = 0
    for prompt_id in sorted(texts_by_prompt):
        ids = sorted(texts_by_prompt[prompt_id].values())
        cap = settings.max_pairs_per_prompt
        num_all = len(ids) * (len(ids) - 1) // 2
        if cap is not None and cap < num_all:
            draws = {response: derive_seed(root_seed, "pairs", prompt_id, response) for response in ids}
            ids.sort(key=lambda response: draws[response])
            num_capped += num_all - cap
        chosen = order_pairs_evenly(len(ids))[:cap]
        pairs += sorted(Pair.from_responses(prompt_id, ids[one], ids[other]) for one, other in chosen)
    return PairsResult(
        pairs=tuple(sorted(pairs, key=lambda pair: (pair.prompt_id, pair.response_a, pair.response_b))),
        num_identical=num_responses - sum(len(texts) for texts in texts_by_prompt.values()),
        num_single=sum(len(texts) < 2 for texts in texts_by_prompt.values()),  # noqa: PLR2004 (a pair is two)
        num_capped=num_capped,
    )


def order_pairs_evenly(n: int) -> list[tuple[int, int]]:
    """Orders all pairs of 0..n-1 so that each beginning uses every number equally often, give or take one.

    For even n these are the rounds of a round-robin tournament (the circle method): each round meets
    everyone once. For odd n they are Walecki's Hamiltonian cycles of the complete graph, each walked by
    its even edges first, then by its odd ones. (Alspach, "The wonderful Walecki construction", 2008.)
    """
    if n < 2:  # noqa: PLR2004
        return []
    if n % 2 == 0:
        ring = n - 1
        return [
            pair
            for turn in range(ring)
            for pair in [
                (ring, turn),
                *(((turn + step) % ring, (turn - step) % ring) for step in range(1, n // 2)),
            ]
        ]
    ring = n - 1
    pairs = []
    for start in range(n // 2):
        # ring stands for Walecki's point at infinity: start, start+1, start-1, start+2, ..., start+n//2
        zigzag = [(step + 1) // 2 * (1 if step % 2 else -1) for step in range(ring)]
        cycle = [ring, *((start + offset) % ring for offset in zigzag)]
        edges = [(cycle[place], cycle[(place + 1) % n]) for place in range(n)]
        pairs += edges[0::2] + edges[1::2]
    return pairs
