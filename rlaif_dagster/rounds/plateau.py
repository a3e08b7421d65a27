"""Decides whether another round pays.

A policy that samples for its own next round gains less each time, and a gain by the judge may be no real gain. Figures
of the judge are compared with thresholds before a round is trained, and all figures after it. All follow the rule of
the judge's gates: a figure passes if its whole interval is on the good side of its threshold. The next round has to be
justified: a figure that does not pass stops it. A figure that nothing measures stops nothing, and is reported as not
measured; only the gain must be measured.

Known trade-off (accepted): with few held-out prompts intervals are wide, and rounds stop early.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.evaluation.comparison import EVEN, Comparison, Source
from rlaif_dagster.evaluation.diversity import find_distinct_share
from rlaif_dagster.judge_quality.measures import find_figure
from rlaif_dagster.stats.intervals import (
    Estimate,
    clustered_bounded_mean,
    clustered_mean,
    clustered_proportion,
    exceeds,
)
from rlaif_dagster.tables import Row

JUDGE_THRESHOLDS: Final = frozenset({"min_gap", "max_disagreement", "stronger_than_policy"})
"""The thresholds of the figures that are known before training."""
_DISTINCT: Final = 2
"""The length of the word sequences whose variety measures diversity."""
_REFERENCES: Final = {
    "ground_truth": "the ground truth",
    "human": "people",
    None: "the ground truth or people",
}


class PlateauSettings(BaseModel):
    """The thresholds that a round must meet so that the next one is made; null disables a threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_gain: float = Field(default=0.0, ge=-1, le=1)
    """The smallest growth of the win rate against the base policy since the round before."""
    min_gap: float | None = Field(default=0.05, ge=0, le=1)
    """The smallest mean of the judge's P(chosen) - P(rejected) over the pairs that were trained on."""
    max_disagreement: float | None = Field(default=0.5, ge=0, le=1)
    """The largest share of the round's pairs on which the judge contradicts the ground truth, or people."""
    max_length_growth: float | None = Field(default=2.0, gt=0, allow_inf_nan=False)
    """The largest ratio of tokens per answer to those of the base policy."""
    min_diversity: float | None = Field(default=0.5, ge=0)
    """The smallest ratio of the share of distinct word pairs to that of the base policy."""
    stronger_than_policy: bool = True
    """If true, the judge must be right more often than the likelihoods of the policy that was sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One figure of a round with its threshold.

    Attributes:
        name: The figure.
        label: Its name, for people.
        value: The estimate; None if it is not measured.
        low: Lower end of its interval, or None.
        high: Upper end of its interval, or None.
        threshold: The value that it must be above or below; None for no threshold.
        is_floor: True if it must be above the threshold, False if below.
        is_needed: Whether it must be measured.
    """

    name: str
    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    threshold: float | None
    is_floor: bool
    is_needed: bool = False

    @property
    def passes(self) -> bool | None:
        """Whether the whole interval is on the good side; None if it is not measured or has no threshold."""
        if self.threshold is None:
            return None
        if self.value is None:
            return False if self.is_needed else None
        end = self.low if self.is_floor else self.high
        if end is None:
            return False
        return exceeds(end, self.threshold) if self.is_floor else exceeds(self.threshold, end)

    @property
    def words(self) -> str:
        """The figure and its threshold, for people."""
        if self.value is None:
            return f"{self.label}: not measured"
        known = self.low is not None and self.high is not None and self.low < self.high
        interval = f" ({self.low:.3f} to {self.high:.3f})" if known else ""
        side = "above" if self.is_floor else "below"
        asked = "" if self.threshold is None else f", must be {side} {self.threshold:g}"
        return f"{self.label} {self.value:.3f}{interval}{asked}"

    def to_json(self) -> dict[str, Any]:
        """The figure, its threshold, and whether it passes."""
        return {**asdict(self), "passes": self.passes}


def watch_round(
    comparisons: Sequence[Comparison],
    before: Sequence[Comparison] | None,
    preferences: Iterable[Row],
    audit: Mapping[str, Any],
    settings: PlateauSettings,
    *,
    confidence: float,
) -> tuple[Signal, ...]:
    """Compares the figures of a round with the thresholds.

    Args:
        comparisons: The round's policy against the base policy, on held-out prompts.
        before: The same for the round before; None after the first round, which is compared with the base policy
            itself.
        preferences: The round's `ai_preferences` that were trained on.
        audit: The round's audit of the judge.
        settings: The thresholds.
        confidence: The confidence of every interval made here.
    """
    return (
        _judge_estimate(
            "gain",
            "gain over the round before",
            measure_gain(comparisons, before, confidence=confidence),
            settings.min_gain,
            is_needed=True,
        ),
        *watch_judge(preferences, audit, settings, confidence=confidence),
        _judge_estimate(
            "length",
            "tokens over the base policy's",
            measure_length_growth(comparisons, confidence=confidence),
            settings.max_length_growth,
            is_floor=False,
        ),
        _judge_number(
            "diversity",
            "diversity over the base policy's",
            measure_distinct_ratio(comparisons),
            settings.min_diversity,
        ),
    )


def watch_judge(
    preferences: Iterable[Row], audit: Mapping[str, Any], settings: PlateauSettings, *, confidence: float
) -> tuple[Signal, ...]:
    """Compares the figures known before training with the thresholds: how sure, accurate and strong the judge is."""
    gap = measure_gap(preferences, confidence=confidence)
    return (
        _judge_estimate("gap", "chosen-rejected gap", gap, settings.min_gap),
        *_read_audit(audit, settings),
    )


def list_reasons(signals: Iterable[Signal]) -> list[str]:
    """Lists the reasons against another round, for people."""
    return [signal.words for signal in signals if signal.passes is False]


def _judge_estimate(
    name: str,
    label: str,
    estimate: Estimate | None,
    threshold: float | None,
    *,
    is_floor: bool = True,
    is_needed: bool = False,
) -> Signal:
    return Signal(
        name=name,
        label=label,
        value=None if estimate is None else estimate.value,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        threshold=threshold,
        is_floor=is_floor,
        is_needed=is_needed,
    )


def _judge_number(name: str, label: str, value: float | None, threshold: float | None) -> Signal:
    """Makes a figure without an interval."""
    return Signal(
        name=name, label=label, value=value, low=value, high=value, threshold=threshold, is_floor=True
    )


def _read_audit(audit: Mapping[str, Any], settings: PlateauSettings) -> Iterator[Signal]:
    """Yields the figures of each judge: how often it is wrong, and whether it is right more often than the policy."""
    section = "human" if audit["reference"] == "human" else "labels"
    judges = list(audit["verdicts"]["judges"])
    for judge in judges:
        suffix = f" {judge}" if len(judges) > 1 else ""
        accuracy = find_figure(audit, section, judge, "accuracy") if audit["reference"] else None
        value, low, high = _read_figure(accuracy)
        yield Signal(
            name=f"disagreement{suffix}",
            label=f"share of pairs on which the judge{suffix} contradicts {_REFERENCES[audit['reference']]}",
            value=None if value is None else 1.0 - value,
            low=None if high is None else 1.0 - high,
            high=None if low is None else 1.0 - low,
            threshold=settings.max_disagreement,
            is_floor=False,
        )
        value, low, high = _read_figure(find_figure(audit, "policy", judge, "judge_minus_policy"))
        yield Signal(
            name=f"judge_minus_policy{suffix}",
            label=f"judge{suffix} right more often than the policy that it judged, by",
            value=value,
            low=low,
            high=high,
            threshold=0.0 if settings.stronger_than_policy else None,
            is_floor=True,
        )


def _read_figure(figure: Mapping[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if figure is None else (figure["value"], figure["low"], figure["high"])


def measure_gain(
    now: Sequence[Comparison], before: Sequence[Comparison] | None, *, confidence: float
) -> Estimate | None:
    """Measures the win rate now minus the win rate before, against the base policy, paired and clustered by prompt.

    Args:
        now: The round's comparisons.
        before: The comparisons of the round before; None for the base policy, whose win rate against itself is 0.5.
        confidence: The confidence of the interval.

    Returns:
        The gain in [-1, 1]; None if no comparison was judged both times.
    """
    source = find_referee(now)
    earlier = {(row.prompt_id, row.index): row.find_outcome(source) for row in before or ()}
    differences = [
        (outcome - then, row.prompt_id)
        for row in now
        if (outcome := row.find_outcome(source)) is not None
        and (then := EVEN if before is None else earlier.get((row.prompt_id, row.index))) is not None
    ]
    if not differences:
        return None
    values, clusters = zip(*differences, strict=True)
    return clustered_bounded_mean(values, clusters, bounds=(-1.0, 1.0), confidence=confidence)


def find_referee(comparisons: Iterable[Comparison]) -> Source:
    """Finds the source that decides between rounds: the independent judge if there is one, else the judge.

    It is never the ground truth, which only measures the effect of choices.
    """
    return "independent_judge" if any(row.p_independent is not None for row in comparisons) else "judge"


def measure_gap(preferences: Iterable[Row], *, confidence: float) -> Estimate | None:
    """Measures the mean of |2p - 1| = P(chosen preferred) - P(rejected preferred) over labelled pairs, by prompt."""
    gaps = [(abs(2.0 * row["p_a"] - 1.0), row["prompt_id"]) for row in preferences]
    if not gaps:
        return None
    values, clusters = zip(*gaps, strict=True)
    return clustered_proportion(values, clusters, confidence=confidence)


def measure_length_growth(comparisons: Sequence[Comparison], *, confidence: float) -> Estimate | None:
    """Measures tokens of the policy's answers divided by those of the base policy, as a ratio of means.

    The ratio R = sum(a) / sum(b) is linearised: the values R + (a - R b) / mean(b) have the mean R (Cochran 1977,
    Sampling Techniques, section 6.5).
    """
    tokens = [
        (float(row.aligned_tokens), float(row.base_tokens), row.prompt_id)
        for row in comparisons
        if row.aligned_tokens is not None and row.base_tokens is not None
    ]
    total = math.fsum(base for _, base, _ in tokens)
    if not total:
        return None
    ratio = math.fsum(aligned for aligned, _, _ in tokens) / total
    mean = total / len(tokens)
    return _estimate(
        [(ratio + (aligned - ratio * base) / mean, prompt_id) for aligned, base, prompt_id in tokens],
        confidence,
    )


def measure_distinct_ratio(comparisons: Sequence[Comparison]) -> float | None:
    """Measures the share of distinct word pairs in the policy's answers, divided by the base policy's.

    Distinct-2 of Li et al. 2016, A diversity-promoting objective function for neural conversation models. It falls as
    the number of texts grows, so both policies have the same number of answers.

    Returns:
        The ratio, 1 if both are equally diverse; None if the base policy's answers have no word pairs.
    """
    base = find_distinct_share([row.base_text for row in comparisons], _DISTINCT)
    aligned = find_distinct_share([row.aligned_text for row in comparisons], _DISTINCT)
    return None if not base else (aligned or 0.0) / base


def _estimate(values: Sequence[tuple[float, str]], confidence: float) -> Estimate | None:
    if not values:
        return None
    return clustered_mean(
        [value for value, _ in values], [prompt_id for _, prompt_id in values], confidence=confidence
    )
