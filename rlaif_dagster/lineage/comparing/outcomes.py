"""Compares two evaluations: how win rates shifted, and how both policies answer the same held-out prompts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.stats.intervals import Estimate, clustered_mean

NUM_SAMPLES: Final = 5

Key = tuple[str, int]
_Comparisons = Mapping[Key, Comparison]
"""Comparisons by prompt and sample."""

OUTCOMES: Final[Mapping[str, Callable[[Comparison], float | None]]] = {
    "judge": lambda row: row.judge_outcome,
    "ground_truth": lambda row: row.ground_truth_outcome,
    "reward_model": lambda row: row.reward_outcome,
}
"""What decides a comparison: 1, 0.5 or 0; None if undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRateShift:
    """A win rate over the base policy on both sides.

    Attributes:
        source: Who decides: one of `OUTCOMES`.
        before: Side A's, over the comparisons that both sides decided.
        after: Side B's, over the same.
        shift: The mean of after - before, with its interval, clustered by prompt.
    """

    source: str
    before: float
    after: float
    shift: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The answers of both policies to one held-out prompt.

    Attributes:
        prompt: The prompt.
        base: The base policy's answer on side B.
        before: Side A's answer.
        after: Side B's answer.
        p_before: P(A's answer is better than the base's) by A's judge; None without a verdict.
        p_after: The same of B's answer by B's judge.
    """

    prompt: str
    base: str
    before: str
    after: str
    p_before: float | None
    p_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomesDiff:
    """Two evaluations on common held-out prompts.

    Attributes:
        num_before: Comparisons of side A.
        num_after: Comparisons of side B.
        num_common: Comparisons of the same sample of the same prompt on both sides.
        num_same_answer: Common comparisons in which both aligned policies give the same text.
        win_rates: The win rates that both sides have.
        samples: Different answers side by side, chosen by digest. Changes for the better, for the worse and neither, by
            the judge, alternate.
    """

    num_before: int
    num_after: int
    num_common: int
    num_same_answer: int
    win_rates: tuple[WinRateShift, ...]
    samples: tuple[Sample, ...]


def compare_outcomes(
    before: Sequence[Comparison], after: Sequence[Comparison], *, num_samples: int = NUM_SAMPLES
) -> OutcomesDiff:
    """Compares two evaluations.

    Args:
        before: Side A's comparisons.
        after: Side B's.
        num_samples: The largest number of samples.
    """
    old, new = ({(row.prompt_id, row.index): row for row in rows} for rows in (before, after))
    common = sorted(old.keys() & new.keys())
    shifts = (_shift(source, common, old, new) for source in OUTCOMES)
    different = [key for key in common if old[key].aligned_text != new[key].aligned_text]
    return OutcomesDiff(
        num_before=len(before),
        num_after=len(after),
        num_common=len(common),
        num_same_answer=len(common) - len(different),
        win_rates=tuple(shift for shift in shifts if shift is not None),
        samples=tuple(_show(old[key], new[key]) for key in _choose(different, old, new)[:num_samples]),
    )


def _shift(source: str, common: Sequence[Key], old: _Comparisons, new: _Comparisons) -> WinRateShift | None:
    decide = OUTCOMES[source]
    decided = [
        (key[0], one, other)
        for key in common
        if (one := decide(old[key])) is not None and (other := decide(new[key])) is not None
    ]
    if not decided:
        return None
    return WinRateShift(
        source=source,
        before=sum(one for _, one, _ in decided) / len(decided),
        after=sum(other for _, _, other in decided) / len(decided),
        shift=clustered_mean(
            [other - one for _, one, other in decided], [prompt_id for prompt_id, _, _ in decided]
        ),
    )


def _choose(keys: Sequence[Key], old: _Comparisons, new: _Comparisons) -> list[Key]:
    """Orders keys so that changes for the better, for the worse and neither alternate, each by digest."""
    queues: dict[int, list[Key]] = {1: [], -1: [], 0: []}
    for key in sorted(keys, key=lambda key: Digest.from_json(list(key)).sha256):
        one, other = old[key].judge_outcome, new[key].judge_outcome
        queues[0 if one is None or other is None else (other > one) - (other < one)].append(key)
    longest = max(map(len, queues.values()))
    return [queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)]


def _show(old: Comparison, new: Comparison) -> Sample:
    return Sample(
        prompt=new.prompt,
        base=new.base_text,
        before=old.aligned_text,
        after=new.aligned_text,
        p_before=old.p_judge,
        p_after=new.p_judge,
    )
