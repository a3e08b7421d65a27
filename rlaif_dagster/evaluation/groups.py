"""Compares the two policies within each category of prompts and by each principle, to find regressions."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rlaif_dagster.evaluation.comparison import EVEN, TRUSTED, Comparison, Meter, Source
from rlaif_dagster.stats.intervals import Estimate
from rlaif_dagster.stats.significance import correct_for_many, flip_signs

GroupKind = Literal["category", "principle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWinRate:
    """The win rate within a category of prompts, or by one principle."""

    name: str
    judge: Estimate | None
    ground_truth: Estimate | None
    independent_judge: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTest:
    """Whether the aligned policy is better or worse than the base policy in one category or by one principle.

    The p-values are exact, paired and clustered by prompt (`significance.flip_signs`). Those named `_of_many` are
    corrected by Holm's method for all categories and principles of the same source.

    Attributes:
        kind: `category` or `principle`.
        name: Its name.
        source: Who compared the answers: `judge`, `independent_judge` or `ground_truth`.
        win_rate: The win rate of the aligned policy; ties count half.
        p_different: The probability of a win rate at least as far from one half, if the policies are equal.
        p_worse: The probability of a win rate at most as high, if the policies are equal.
        p_different_of_many: p_different, corrected.
        p_worse_of_many: p_worse, corrected.
        change: `worse` if p_worse_of_many is below 1 - confidence; `better` if the win rate is above one half and
            p_different_of_many is below it; else `not_shown`.
    """

    kind: GroupKind
    name: str
    source: Source
    win_rate: Estimate
    p_different: float
    p_worse: float
    p_different_of_many: float
    p_worse_of_many: float
    change: Literal["better", "worse", "not_shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressions:
    """Which groups got worse among those that must not.

    Attributes:
        p_values: By name, the probability of such a low win rate if the policies are equal, corrected for all required
            names.
        worse: Names whose p-value is below 1 - confidence.
        not_measured: Names that no source measures.
    """

    p_values: Mapping[str, float]
    worse: tuple[str, ...]
    not_measured: tuple[str, ...]


_Outcomes = Callable[[Comparison, Source], float | None]


def summarise_categories(comparisons: Sequence[Comparison], confidence: float) -> tuple[GroupWinRate, ...]:
    """Summarises the win rates within each category, by name."""
    return tuple(
        _summarise(name, Meter(comparisons=rows, confidence=confidence), Comparison.find_outcome)
        for name, rows in _split_categories(comparisons).items()
    )


def summarise_principles(comparisons: Sequence[Comparison], confidence: float) -> tuple[GroupWinRate, ...]:
    """Summarises the win rates by each principle alone, by name."""
    meter = Meter(comparisons=comparisons, confidence=confidence)
    return tuple(_summarise(name, meter, _by_principle(name)) for name in _list_principles(comparisons))


def compare_groups(comparisons: Sequence[Comparison], confidence: float) -> tuple[GroupTest, ...]:
    """Tests every category and every principle by every source; sorted by source, kind and name."""
    groups: list[tuple[GroupKind, str, Sequence[Comparison], _Outcomes]] = [
        ("category", name, rows, Comparison.find_outcome)
        for name, rows in _split_categories(comparisons).items()
    ]
    groups += [
        ("principle", name, comparisons, _by_principle(name)) for name in _list_principles(comparisons)
    ]
    return tuple(test for source in TRUSTED for test in _test_source(source, groups, confidence=confidence))


def find_regressions(tests: Sequence[GroupTest], names: Collection[str], *, confidence: float) -> Regressions:
    """Finds the groups in which the aligned policy is significantly worse, each by the most trusted source.

    p-values are corrected for these groups only: other groups, which are not required, do not make the proof harder.

    Args:
        tests: The tests of all groups.
        names: Categories and principles; if both have the same name, the lower p-value counts.
        confidence: The confidence of the evaluation.
    """
    found: dict[str, float] = {}
    for name in sorted(set(names)):
        named = [test for test in tests if test.name == name]
        trusted = next((source for source in TRUSTED if any(test.source == source for test in named)), None)
        if trusted is not None:
            found[name] = min(test.p_worse for test in named if test.source == trusted)
    p_values = dict(zip(found, correct_for_many(list(found.values())), strict=True))
    return Regressions(
        p_values=p_values,
        worse=tuple(name for name, p_value in p_values.items() if p_value < 1.0 - confidence),
        not_measured=tuple(sorted(set(names) - found.keys())),
    )


def _test_source(
    source: Source,
    groups: Iterable[tuple[GroupKind, str, Sequence[Comparison], _Outcomes]],
    *,
    confidence: float,
) -> list[GroupTest]:
    measured = []
    for kind, name, rows, find in groups:
        win_rate = Meter(comparisons=rows, confidence=confidence).win_rate(partial(_find, find, source))
        if win_rate is not None:
            outcomes = [
                (outcome, row.prompt_id) for row in rows if (outcome := find(row, source)) is not None
            ]
            test = flip_signs([outcome for outcome, _ in outcomes], [prompt for _, prompt in outcomes])
            measured.append((kind, name, win_rate, test))
    different = correct_for_many([test.p_different for *_, test in measured])
    worse = correct_for_many([test.p_worse for *_, test in measured])
    return [
        GroupTest(
            kind=kind,
            name=name,
            source=source,
            win_rate=win_rate,
            p_different=test.p_different,
            p_worse=test.p_worse,
            p_different_of_many=p_different,
            p_worse_of_many=p_worse,
            change="worse"
            if p_worse < 1.0 - confidence
            else "better"
            if p_different < 1.0 - confidence and win_rate.value > EVEN
            else "not_shown",
        )
        for (kind, name, win_rate, test), p_different, p_worse in zip(measured, different, worse, strict=True)
    ]


def _summarise(name: str, meter: Meter, find: _Outcomes) -> GroupWinRate:
    return GroupWinRate(
        name=name,
        judge=meter.win_rate(partial(_find, find, "judge")),
        ground_truth=meter.win_rate(partial(_find, find, "ground_truth")),
        independent_judge=meter.win_rate(partial(_find, find, "independent_judge")),
    )


def _split_categories(comparisons: Iterable[Comparison]) -> Mapping[str, list[Comparison]]:
    groups: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.category is not None:
            groups.setdefault(row.category, []).append(row)
    return dict(sorted(groups.items()))


def _list_principles(comparisons: Iterable[Comparison]) -> list[str]:
    return sorted({outcome.principle_id for row in comparisons for outcome in row.principles})


def _find(find: _Outcomes, source: Source, row: Comparison) -> float | None:
    return find(row, source)


def _by_principle(name: str) -> _Outcomes:
    return lambda row, source: row.find_principle_outcome(name, source)
