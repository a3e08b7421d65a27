"""Kappas and alpha: published worked examples, the library's numbers, and the laws between them."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from rlaif_dagster.judge_quality.figures import Item
from rlaif_dagster.judge_quality.kappas import (
    estimate_cohens_kappa,
    estimate_fleiss_kappa,
    estimate_krippendorffs_alpha,
)

CELLS = st.lists(st.tuples(st.just(0), st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40)


def spread(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Each item on a pair of its own."""
    return {f"p{number:03}": [item] for number, item in enumerate(items)}


def test_cohens_kappa_of_a_worked_table() -> None:
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5."""
    cells = [(0, 0, 0)] * 20 + [(0, 0, 1)] * 5 + [(0, 1, 0)] * 10 + [(0, 1, 1)] * 15
    kappa = estimate_cohens_kappa(spread(cells))
    assert kappa.value == pytest.approx(0.4)
    assert kappa.n == 50
    table = np.array([[20, 5], [10, 15]])
    asymptotic = cohens_kappa(table)
    assert kappa.low == pytest.approx(asymptotic.kappa_low, abs=0.02)
    assert kappa.high == pytest.approx(asymptotic.kappa_upp, abs=0.02)


def test_the_kappa_of_two_tables_is_their_mean() -> None:
    one = [(0, 0, 0)] * 20 + [(0, 0, 1)] * 5 + [(0, 1, 0)] * 10 + [(0, 1, 1)] * 15
    perfect = [(1, 0, 0)] * 25 + [(1, 1, 1)] * 25
    cells = {pair: [*spread(one)[pair], *spread(perfect)[pair]] for pair in spread(one)}
    assert estimate_cohens_kappa(cells).value == pytest.approx((0.4 + 1.0) / 2)


@settings(deadline=None, max_examples=60)
@given(CELLS)
def test_cohens_kappa_is_the_librarys(cells: list[Item]) -> None:
    table = np.zeros((3, 3))
    for _, one, other in cells:
        table[one, other] += 1
    kappa = estimate_cohens_kappa(spread(cells))
    if (table.sum(axis=0) * table.sum(axis=1)).sum() == len(cells) ** 2:
        assert kappa.value is None
    else:
        assert kappa.value == pytest.approx(cohens_kappa(table, return_results=False))


@settings(deadline=None, max_examples=40)
@given(CELLS, st.permutations([0, 1, 2]))
def test_the_names_of_the_labels_change_no_kappa(cells: list[Item], names: list[int]) -> None:
    renamed = [(0, names[one], names[other]) for _, one, other in cells]
    kappa, other_kappa = estimate_cohens_kappa(spread(cells)), estimate_cohens_kappa(spread(renamed))
    if kappa.value is None:
        assert other_kappa.value is None
    else:
        assert other_kappa.value == pytest.approx(kappa.value)
        assert (other_kappa.low, other_kappa.high) == pytest.approx((kappa.low, kappa.high))


def test_fleiss_kappa_of_the_published_example() -> None:
    """14 raters, 10 subjects, 5 categories: 0.210 (Fleiss 1971, as worked on Wikipedia)."""
    table = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    kappa = estimate_fleiss_kappa(spread([tuple(row) for row in table]))
    assert kappa.value is not None
    assert round(kappa.value, 3) == 0.210
    assert kappa.value == pytest.approx(fleiss_kappa(np.array(table)))


def test_krippendorffs_alpha_of_the_published_example() -> None:
    """Four coders, twelve units, missing values: 0.743 for nominal data (Krippendorff 2011)."""
    table = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    columns = zip(*(row.split() for row in table), strict=True)
    patterns = [tuple(column.count(str(label)) for label in range(1, 6)) for column in columns]
    alpha = estimate_krippendorffs_alpha(spread(patterns))
    assert alpha.value is not None
    assert round(alpha.value, 3) == 0.743
    assert alpha.n == 11  # the last unit has one value


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=2, max_size=20))
def test_alpha_is_fleiss_kappa_with_a_correction_for_few_ratings(ratings: list[list[int]]) -> None:
    patterns = spread([tuple(unit.count(label) for label in range(3)) for unit in ratings])
    kappa, alpha = estimate_fleiss_kappa(patterns).value, estimate_krippendorffs_alpha(patterns).value
    if kappa is None:
        assert alpha is None
    else:
        assert alpha == pytest.approx(kappa + (1 - kappa) / (3 * len(ratings)))


def test_full_agreement_has_an_interval() -> None:
    """Ten of ten agree: Wilson's lower bound for that is 10 / (10 + 1.96^2); chance agreement is a half."""
    kappa = estimate_cohens_kappa(spread([(0, 0, 0)] * 5 + [(0, 1, 1)] * 5))
    lowest = 10 / (10 + 1.959964**2)
    assert (kappa.value, kappa.high) == (1.0, 1.0)
    assert kappa.low == pytest.approx((lowest - 0.5) / 0.5, abs=1e-6)


def test_one_label_only_has_no_kappa() -> None:
    assert estimate_cohens_kappa(spread([(0, 1, 1)] * 9)).value is None
    assert estimate_krippendorffs_alpha(spread([(0, 2, 0)] * 9)).value is None


def test_nothing_has_no_kappa() -> None:
    for figure in (
        estimate_cohens_kappa({}),
        estimate_fleiss_kappa({}),
        estimate_krippendorffs_alpha({"p": [(1, 0)]}),
    ):
        assert (figure.value, figure.n) == (None, 0)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """60 pairs, labels right with chance 0.8 on both sides: observed 0.68 of two labels, so kappa 0.36."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        truth = generator.integers(0, 2, 60)
        one, other = (np.where(generator.random(60) < 0.8, truth, 1 - truth) for _ in range(2))
        kappa = estimate_cohens_kappa(spread([(0, int(a), int(b)) for a, b in zip(one, other, strict=True)]))
        covered += kappa.low is not None and kappa.high is not None and kappa.low <= 0.36 <= kappa.high
    assert covered / 200 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 200))
