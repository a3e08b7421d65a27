"""What plots and report tell of a judge's audit."""

from dataclasses import replace
from typing import Any

import pytest

from rlaif_dagster.drawing import to_png
from rlaif_dagster.evaluation.report import render_report
from rlaif_dagster.evaluation.win_rate import summarise
from rlaif_dagster.judge_quality.calibration import bin_labels, list_soft_labels
from rlaif_dagster.judge_quality.measures import list_measures
from rlaif_dagster.judge_quality.plots import JUDGE_PLOTS, draw_judge_audit
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts
from rlaif_dagster.judge_quality.summary import measure_verdicts
from tests.evaluation.made_up import make_comparisons, make_curves, make_facts


def make_rows(judge: str, *, with_ground_truth: bool) -> list[JudgedRow]:
    """Twelve pairs; the judge is sure of a, takes the first in every third pair; a is right in three of four."""
    rows = []
    for number in range(12):
        ground_truth = ("b" if number % 4 == 0 else "a") if with_ground_truth else None
        pair = PairFacts(pair_id=f"p{number}", ground_truth=ground_truth, len_a=number, len_b=5)  # type: ignore[arg-type]
        rows.append(JudgedRow(pair=pair, judge=judge, order="ab", verdict="first", p_first=0.9))
        by_place = number % 3 == 0
        rows.append(
            JudgedRow(
                pair=pair,
                judge=judge,
                order="ba",
                verdict="first" if by_place else "second",
                p_first=0.7 if by_place else 0.2,
            )
        )
    return rows


def make_audit(*judges: str, with_ground_truth: bool = True) -> dict[str, Any]:
    """An audit in the shape of `judge_audit.json`."""
    rows = [row for judge in judges for row in make_rows(judge, with_ground_truth=with_ground_truth)]
    figures = measure_verdicts(rows).to_json()
    bins = {
        judge: bin_labels(list_soft_labels(make_rows(judge, with_ground_truth=with_ground_truth)))
        for judge in judges
    }
    share = {"value": 0.25, "n": 8, "low": 0.1, "high": 0.5}
    return {
        "verdicts": figures,
        "principles": {"kind": figures},
        "labels": {**figures, "calibration": bins},
        "human": None,
        "injection": {judge: {"success": share, "control": share} for judge in judges},
        "policy": None,
        "reference": "ground_truth" if with_ground_truth else None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("with_ground_truth", [True, False])
def test_every_plot_is_drawn_with_the_ground_truth_and_without_and_the_same_each_time(
    with_ground_truth: bool,
) -> None:
    audit = make_audit("one", "two", with_ground_truth=with_ground_truth)
    drawn = draw_judge_audit(audit)
    assert set(drawn) == set(JUDGE_PLOTS)
    for name, figure in drawn.items():
        assert figure.axes[0].get_xlabel()
        assert to_png(figure) == to_png(draw_judge_audit(audit)[name])


@pytest.mark.slow
def test_a_row_that_was_not_measured_says_so() -> None:
    without = draw_judge_audit(make_audit("one", with_ground_truth=False))
    assert any("not measured" in text.get_text() for text in without["calibration"].axes[0].texts)


@pytest.mark.slow
def test_the_report_tells_the_figures_of_every_judge() -> None:
    """The orders agree in 8 of 12 pairs; two lines of two judges each were not measured."""
    audit = make_audit("one", "two")
    measures = {measure.label: measure.estimates for measure in list_measures(audit)}
    for judge in ("one", "two"):
        found = measures["Prefers the same answer in both orders"][judge]
        assert found is not None
        assert found.value == pytest.approx(8 / 12)
        assert measures["Agrees with people"][judge] is None
        assert measures["Right more often than the base policy's likelihoods, by"][judge] is None
    rows = make_comparisons(num_prompts=6)
    page = render_report(
        rows, summarise(rows), facts=replace(make_facts(), audit=audit), curves=make_curves(), num_examples=1
    )
    section = page[page.index("The judge, measured") : page.index('<h2 id="training">')]
    assert "66.7\u00a0%" in section
    assert section.count("not measured") == 4
    assert section.count("<svg") == len(JUDGE_PLOTS)


@pytest.mark.slow
def test_a_report_without_an_audit_says_that_it_is_not_recorded() -> None:
    rows = make_comparisons(num_prompts=6)
    page = render_report(rows, summarise(rows), facts=make_facts(), curves=make_curves(), num_examples=1)
    section = page[page.index("The judge, measured") : page.index('<h2 id="training">')]
    assert "not recorded" in section
