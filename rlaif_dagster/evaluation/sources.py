"""Summarises each source's comparison of the two policies, and how far the training judge is from the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif_dagster.evaluation.comparison import EVEN, SOURCES, Comparison, Meter, Source
from rlaif_dagster.evaluation.length_control import LengthControl, control_length
from rlaif_dagster.stats.intervals import Estimate, clustered_bounded_mean, clustered_proportion

_REFERENCES: tuple[Source, ...] = ("independent_judge", "ground_truth")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWinRate:
    """The aligned policy against the base policy by one source.

    Attributes:
        source: The source: `judge`, `independent_judge`, `ground_truth` or `reward_model`.
        num_missing: Comparisons that it does not decide: they are in no figure here.
        win_rate: Share of wins of the aligned policy; ties count half.
        win: Share of wins.
        tie: Share of ties.
        loss: Share of losses.
        order_consistency: For a judge: share of different pairs on which it prefers the same answer in both orders.
        length_control: The win rate at equal length, in characters; None if all length differences are equal.
    """

    source: Source
    num_missing: int
    win_rate: Estimate
    win: Estimate
    tie: Estimate
    loss: Estimate
    order_consistency: Estimate | None
    length_control: LengthControl | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeGap:
    """How far the judge that labelled the training data is from a source that the policy was not trained on.

    Attributes:
        reference: `independent_judge` or `ground_truth`.
        agreement: Share of comparisons of different answers on which they agree.
        win_rate_difference: Win rate by the judge minus that by the reference, on the same comparisons. Above 0, the
            policy has learned what pleases this judge, not what is better.
    """

    reference: Source
    agreement: Estimate
    win_rate_difference: Estimate


def summarise_sources(comparisons: Sequence[Comparison], confidence: float) -> tuple[SourceWinRate, ...]:
    """Summarises every source that decides any comparison."""
    found = (summarise_source(comparisons, source, confidence) for source in SOURCES)
    return tuple(summary for summary in found if summary is not None)


def summarise_source(
    comparisons: Sequence[Comparison], source: Source, confidence: float
) -> SourceWinRate | None:
    """Summarises one source; None if it decides nothing."""
    meter = Meter(comparisons=comparisons, confidence=confidence)
    win_rate = meter.win_rate(lambda row: row.find_outcome(source))
    if win_rate is None:
        return None
    known = [(outcome, row) for row in comparisons if (outcome := row.find_outcome(source)) is not None]
    win, tie, loss = (
        clustered_proportion(
            [float(outcome == value) for outcome, _ in known],
            [row.prompt_id for _, row in known],
            confidence=confidence,
        )
        for value in (1.0, EVEN, 0.0)
    )
    return SourceWinRate(
        source=source,
        num_missing=len(comparisons) - len(known),
        win_rate=win_rate,
        win=win,
        tie=tie,
        loss=loss,
        order_consistency=meter.share(lambda row: row.agree_orders(source)),
        length_control=control_length(
            [outcome for outcome, _ in known],
            [len(row.aligned_text) - len(row.base_text) for _, row in known],
            [row.prompt_id for _, row in known],
            confidence=confidence,
        ),
    )


def find_judge_gaps(comparisons: Sequence[Comparison], confidence: float) -> tuple[JudgeGap, ...]:
    """Finds how far the judge is from the independent judge and from the ground truth, on what both decide."""
    gaps = (_find_gap(comparisons, reference, confidence) for reference in _REFERENCES)
    return tuple(gap for gap in gaps if gap is not None)


def _find_gap(comparisons: Sequence[Comparison], reference: Source, confidence: float) -> JudgeGap | None:
    both = [
        (judge, other, row)
        for row in comparisons
        if (judge := row.judge_outcome) is not None and (other := row.find_outcome(reference)) is not None
    ]
    different = [(judge, other, row) for judge, other, row in both if not row.identical]
    if not different:
        return None
    return JudgeGap(
        reference=reference,
        agreement=clustered_proportion(
            [float(judge == other) for judge, other, _ in different],
            [row.prompt_id for _, _, row in different],
            confidence=confidence,
        ),
        win_rate_difference=clustered_bounded_mean(
            [judge - other for judge, other, _ in both],
            [row.prompt_id for _, _, row in both],
            bounds=(-1.0, 1.0),
            confidence=confidence,
        ),
    )
