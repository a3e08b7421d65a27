"""Laws that hold for any verdicts: names, order of rows and mirror images change nothing that they should not."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_dagster.judge_quality.figures import Figure
from rlaif_dagster.judge_quality.judge_figures import JUDGE_FIGURES
from rlaif_dagster.judge_quality.rows import JudgedRow, Label, PairFacts
from rlaif_dagster.judge_quality.summary import measure_verdicts
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import ORDERS, Order

SWAPPED: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
FLIPPED: dict[Order, Order] = {"ab": "ba", "ba": "ab"}
MIRRORED: dict[Preference, Preference] = {"first": "second", "second": "first", "tie": "tie"}
LAW = settings(deadline=None, max_examples=30)


@st.composite
def verdict_rows(draw: st.DrawFn) -> list[JudgedRow]:
    """Two judges on up to eight pairs, both orders, once or twice, with some of everything missing."""
    rows: list[JudgedRow] = []
    for number in range(draw(st.integers(1, 8))):
        pair = PairFacts(
            pair_id=f"p{number}",
            ground_truth=draw(st.sampled_from(["a", "b", "tie", None])),
            len_a=draw(st.sampled_from([1, 2, None])),
            len_b=draw(st.sampled_from([1, 2])),
            source_a=draw(st.sampled_from(["x", "z", None])),
            source_b=draw(st.sampled_from(["x", "y"])),
        )
        for judge in ("x", "y"):
            for order in ORDERS:
                for repeat in range(draw(st.integers(0, 2))):
                    verdict: Preference | None = draw(st.sampled_from([*MIRRORED, None]))
                    p_first = draw(st.sampled_from([0.1, 0.25, 0.5, 0.75, None])) if verdict else None
                    rows.append(
                        JudgedRow(
                            pair=pair,
                            judge=judge,
                            order=order,
                            repeat=repeat,
                            verdict=verdict,
                            p_first=p_first,
                        )
                    )
    return rows


def swap_answers(row: JudgedRow) -> JudgedRow:
    """The same event, with a called b and b called a."""
    pair = row.pair
    swapped = PairFacts(
        pair_id=pair.pair_id,
        ground_truth=None if pair.ground_truth is None else SWAPPED[pair.ground_truth],
        len_a=pair.len_b,
        len_b=pair.len_a,
        source_a=pair.source_b,
        source_b=pair.source_a,
    )
    return replace(row, pair=swapped, order=FLIPPED[row.order])


def mirror_places(row: JudgedRow) -> JudgedRow:
    """The same choice, by a judge that saw the answers the other way round."""
    return replace(
        row,
        order=FLIPPED[row.order],
        verdict=None if row.verdict is None else MIRRORED[row.verdict],
        p_first=None if row.p_first is None else 1.0 - row.p_first,
    )


def near(figure: Figure) -> object:
    numbers = (figure.value, figure.low, figure.high)
    return pytest.approx([number if number is None else float(number) for number in numbers], abs=1e-9)


def list_numbers(figure: Figure) -> list[float | None]:
    return [figure.value, figure.low, figure.high]


def check_same(one: Figure, other: Figure, key: str) -> None:
    assert list_numbers(one) == near(other), key
    assert one.n == other.n, key


@pytest.mark.slow
@LAW
@given(verdict_rows(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_bit(rows: list[JudgedRow], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert measure_verdicts(shuffled) == measure_verdicts(rows)


@pytest.mark.slow
@LAW
@given(verdict_rows())
def test_the_names_of_pairs_change_no_figure(rows: list[JudgedRow]) -> None:
    renamed = [
        replace(row, pair=replace(row.pair, pair_id=f"other {9 - int(row.pair.pair_id[1:])}")) for row in rows
    ]
    before, after = measure_verdicts(rows), measure_verdicts(renamed)
    for judge, figures in before.judges.items():
        for key, figure in figures.items():
            check_same(after.judges[judge][key], figure, key)


@pytest.mark.slow
@LAW
@given(verdict_rows())
def test_which_answer_is_called_a_changes_no_figure(rows: list[JudgedRow]) -> None:
    names = {"ground_truth_a": "ground_truth_b", "ground_truth_b": "ground_truth_a"}
    before, after = measure_verdicts(rows), measure_verdicts([swap_answers(row) for row in rows])
    for judge, figures in before.judges.items():
        for key, figure in figures.items():
            check_same(after.judges[judge][names.get(key, key)], figure, key)


@pytest.mark.slow
@LAW
@given(verdict_rows())
def test_a_judge_that_reads_the_other_way_round_has_the_opposite_position_bias(rows: list[JudgedRow]) -> None:
    """And is as right, as fond of length and of itself, as stable and as calibrated."""
    exchanged = {"first_first": "second_second", "second_second": "first_first"}
    signs = {"position_bias": (-1, 0), "first_rate": (-1, 1), "flips_to_first": (-1, 1)}
    before, after = measure_verdicts(rows), measure_verdicts([mirror_places(row) for row in rows])
    for judge, figures in before.judges.items():
        for key, figure in figures.items():
            mirrored = after.judges[judge][exchanged.get(key, key)]
            sign, shift = signs.get(key, (1, 0))
            if figure.value is None or figure.low is None or figure.high is None or sign > 0:
                check_same(mirrored, figure, key)
            else:
                ends = (figure.low, figure.high)
                expected = [shift + sign * number for number in (figure.value, ends[1], ends[0])]
                assert list_numbers(mirrored) == pytest.approx(expected, abs=1e-9), key


@LAW
@given(verdict_rows())
def test_every_figure_is_defined_and_lies_in_its_range(rows: list[JudgedRow]) -> None:
    keys = [definition.key for definition in JUDGE_FIGURES]
    for figures in measure_verdicts(rows).judges.values():
        assert list(figures) == keys
        for definition in JUDGE_FIGURES:
            check_range(figures[definition.key], definition.kind)


def check_range(figure: Figure, kind: str) -> None:
    least = {"share": 0.0, "count": 0.0, "number": -1.0}[kind]
    most = figure.n if kind == "count" else 1.0
    known: Sequence[float] = [number for number in list_numbers(figure) if number is not None]
    assert all(least <= number <= most for number in known)
    assert figure.n > 0 or not known
