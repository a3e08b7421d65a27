"""Defines the figures of an audit: what they are, what n counts, and how the interval is made.

The figures of one judge are in `judge_figures.py`, the others here.

A row is one question to the judge: a pair in one order (and repeat). A verdict is a row with an answer first, second or
tie. A question in both orders is a pair (and repeat). "Decided" means not a tie.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

IntervalKind = Literal["census", "wilson", "count", "t", "kappa", "jackknife", "exact", "mover", "none"]

INTERVALS: Final[Mapping[IntervalKind, str]] = {
    "census": "Counted, not estimated: the value itself.",
    "wilson": "Wilson's at the effective sample size, with pairs as clusters (Korn and Graubard 1998).",
    "count": "That of the share among n (wilson), times n.",
    "t": "Student's t on the variance clustered by pair, cut at the bounds. Where all values are equal: as many "
    "pairs as Wilson's upper bound for none could differ, by as much as the bounds allow.",
    "kappa": "Student's t on the jackknife over pairs, cut at -1 and 1. Where that shows no variance: Wilson's for "
    "the observed agreement, at the chance agreement found.",
    "jackknife": "Student's t on the jackknife over pairs, cut at 0 and 1; null where that shows no variance.",
    "exact": "Clopper and Pearson's, the one that belongs to the test.",
    "mover": "Recovered from the intervals of the two shares (Zou and Donner 2008).",
    "none": "Null: a test has none.",
}
"""Every interval is for 95 %, and takes pairs as independent draws: not their orders, not their repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A figure.

    Attributes:
        key: Its name in the result.
        title: Its name on the terminal.
        group: What it is about.
        definition: What it is.
        counts: What n counts.
        interval: How its interval is made.
        kind: A share is shown as a percentage.
    """

    key: str
    title: str
    group: str
    definition: str
    counts: str
    interval: IntervalKind
    kind: Literal["share", "count", "number"]


SOURCE_FIGURE: Final = Definition(
    key="sources",
    title="answers win",
    group="sources",
    definition="By source: points of its answers (win 1, tie 0.5) over questions whose two orders agree.",
    counts="questions whose orders agree",
    interval="wilson",
    kind="share",
)
"""The figure of each source, by judge."""

RATER_FIGURES: Final[tuple[Definition, ...]] = (
    Definition(
        key="unanimous",
        title="all judges equal",
        group="raters",
        definition="Share of rows, a pair in one order, with a verdict of every judge in which all verdicts are equal.",
        counts="rows with every judge's verdict",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="fleiss_kappa",
        title="Fleiss' kappa",
        group="raters",
        definition="Fleiss' kappa (1971) of all judges.",
        counts="rows with every judge's verdict",
        interval="kappa",
        kind="number",
    ),
    Definition(
        key="krippendorff_alpha",
        title="Krippendorff's alpha",
        group="raters",
        definition="Krippendorff's alpha for nominal labels; verdicts may be missing.",
        counts="rows with the verdicts of 2 judges or more",
        interval="kappa",
        kind="number",
    ),
    Definition(
        key="agreement",
        title="two judges equal",
        group="raters",
        definition="By two judges: share of rows with a verdict of both in which the two are equal.",
        counts="rows with both judges' verdicts",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="kappa",
        title="Cohen's kappa of two judges",
        group="raters",
        definition="By two judges: Cohen's kappa (1960).",
        counts="rows with both judges' verdicts",
        interval="kappa",
        kind="number",
    ),
)
"""The figures of several judges together."""
