"""Each figure of a judge, worked by hand on a few verdicts."""

from dataclasses import replace
from typing import Any

import pytest

from rlaif_dagster.judge_quality.accuracy import measure_accuracy
from rlaif_dagster.judge_quality.bias import (
    measure_length_preference,
    measure_self_preference,
    measure_sources,
    score_pairs,
)
from rlaif_dagster.judge_quality.calibration import SoftLabel, list_soft_labels, measure_calibration
from rlaif_dagster.judge_quality.figures import Figure
from rlaif_dagster.judge_quality.orders import measure_orders
from rlaif_dagster.judge_quality.raters import measure_raters
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts, group_by_judge
from rlaif_dagster.judge_quality.stability import measure_stability
from rlaif_dagster.judge_quality.summary import measure_verdicts
from tests.judge_quality.made_up import make_question, make_question_with, make_questions


def values(figures: dict[str, Figure], *keys: str) -> list[float | None]:
    return [figures[key].value for key in keys]


def test_accuracy_counts_a_missing_verdict_as_not_right() -> None:
    """Ground truth a: right in both orders, right in one, missing in one, and wrong in both."""
    rows = make_questions(["12", "11", "1?", "21"], ground_truth="a")
    figures = measure_accuracy(rows)
    assert figures["accuracy"].value == (2 + 1 + 1 + 0) / 8
    assert figures["accuracy_parsed"].value == 4 / 7
    assert figures["both_correct"].value == 1 / 4
    assert [figures[key].n for key in ("accuracy", "accuracy_parsed", "both_correct")] == [8, 7, 4]
    assert values(figures, "ground_truth_a", "ground_truth_b", "ground_truth_tie") == [4, 0, 0]


def test_a_tie_is_right_where_the_ground_truth_is_a_tie() -> None:
    rows = [
        *make_question_with("==", 0, ground_truth="tie"),
        *make_question_with("1=", 1, ground_truth="tie"),
    ]
    assert values(measure_accuracy(rows), "accuracy", "both_correct") == [0.75, 0.5]


def test_macro_scores_of_a_worked_table() -> None:
    """Ground truth a a b b tie; verdicts a b b none tie.

    Precision 1, 1/2, 1; recall 1/2, 1/2, 1; F1 2/3, 1/2, 1.
    """
    ground_truth, verdicts = ("a", "a", "b", "b", "tie"), "122?="
    rows = [
        row
        for number in range(5)
        for row in make_question_with(verdicts[number], number, ground_truth=ground_truth[number])
    ]
    figures = measure_accuracy(rows)
    assert figures["macro_precision"].value == pytest.approx(2.5 / 3)
    assert figures["macro_recall"].value == pytest.approx(2 / 3)
    assert figures["macro_f1"].value == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_kappa_with_the_ground_truth_is_the_mean_of_the_orders() -> None:
    """Order ab is right in all four, ba in two of four, by chance a half: kappas 1 and 0."""
    rows = [
        *make_question_with("12", 0, ground_truth="a"),
        *make_question_with("11", 1, ground_truth="a"),
        *make_question_with("21", 2, ground_truth="b"),
        *make_question_with("22", 3, ground_truth="b"),
    ]
    assert measure_accuracy(rows)["kappa_ground_truth"].value == pytest.approx(0.5)


def test_the_orders_of_six_questions() -> None:
    """Consistent a, consistent tie, first-first twice, second-second, a tie and a winner; and two left out."""
    rows = make_questions(["12", "==", "11", "11", "22", "1=", "1?", "1"])
    figures = measure_orders(rows)
    assert figures["order_agreement"].value == 2 / 6
    assert figures["order_agreement_all"].value == 2 / 7
    assert values(figures, "first_first", "second_second", "tie_mixed") == [2, 1, 1]
    assert (figures["pairs_excluded"].value, figures["pairs_excluded"].n) == (1, 7)
    assert figures["flips_to_first"].value == 2 / 3
    assert figures["position_p_value"].value == pytest.approx(1.0)
    assert figures["position_bias"].value == pytest.approx((0 + 0 + 1 + 1 - 1 + 0.5) / 6)
    assert (figures["first_rate"].value, figures["first_rate"].n) == (8 / 11, 11)
    assert (figures["tie_rate"].value, figures["tie_rate"].n) == (3 / 14, 14)


def test_the_sign_test_of_ten_flips_to_the_first() -> None:
    figures = measure_orders(make_questions(["11"] * 10))
    assert figures["position_p_value"].value == pytest.approx(2 / 2**10)
    assert figures["flips_to_first"].low == pytest.approx(0.025 ** (1 / 10))


def test_kappa_of_the_orders_uses_the_names_of_the_answers() -> None:
    figures = measure_orders(make_questions(["12", "21", "12", "21"]))
    assert figures["kappa_orders"].value == 1.0


def test_length_preference_raw_and_with_the_ground_truth_fixed() -> None:
    """Answer a is longer. Where the ground truth is a it wins 2 of 2, where b 1 of 4: (1 + 1/4) / 2."""
    longer: dict[str, Any] = {"len_a": 9, "len_b": 3}
    rows = [
        *make_question_with("12", 0, ground_truth="a", **longer),
        *make_question_with("22", 1, ground_truth="b", **longer),
        *make_question_with("21", 2, ground_truth="b", **longer),
        *make_question_with("12", 3, ground_truth="a", len_a=4, len_b=4),
        *make_question_with("=?", 4, ground_truth="b", **longer),
    ]
    figures = measure_length_preference(rows)
    assert (figures["prefers_longer"].value, figures["prefers_longer"].n) == (3 / 6, 6)
    assert (
        figures["prefers_longer_ground_truth_fixed"].value,
        figures["prefers_longer_ground_truth_fixed"].n,
    ) == (5 / 8, 6)
    # The rule: right, wrong, wrong, a half, wrong. The judge: 1 1, 0.5 0.5, 1 1, 1 1, 0.5 0.
    assert (figures["longer_wins_accuracy"].value, figures["longer_wins_accuracy"].n) == (1.5 / 5, 5)
    assert figures["beats_longer_wins"].value == pytest.approx(
        (0 + 0 + 0 + 1 + 1 + 1 + 0.5 + 0.5 + 0.5 + 0) / 10
    )
    assert figures["beats_longer_wins"].n == 10


def test_length_preference_needs_pairs_of_both_kinds_to_hold_the_ground_truth_fixed() -> None:
    figures = measure_length_preference(make_questions(["12", "21"], ground_truth="a", len_a=9, len_b=3))
    assert figures["prefers_longer_ground_truth_fixed"] == Figure.absent(4)


def test_self_preference_against_the_ground_truth_and_against_other_judges() -> None:
    """The judge gives its own answer 1 and 0.5 points; ground truth 0 and 1; the other judge 0.5 on the first pair."""
    rows = [
        *make_question_with("12", 0, judge="me", ground_truth="b", source_a="me", source_b="you"),
        *make_question_with("11", 1, judge="me", ground_truth="b", source_a="you", source_b="me"),
        *make_question_with("12", 2, judge="me", ground_truth="b", source_a="me", source_b="me"),
        *make_question_with("12", 3, judge="me", ground_truth="b", source_a="you", source_b="they"),
        *make_question_with("12", 4, judge="me", ground_truth="b", source_a="me"),
    ]
    others = {"other": score_pairs(make_question("p0", "1=", judge="other"))}
    assert others == {"other": {"p0": 0.75}}
    figures = measure_self_preference("me", rows, others)
    assert (figures["own_share"].value, figures["own_share"].n) == (0.75, 2)
    assert figures["self_preference_ground_truth"].value == pytest.approx((1 - 0.5) / 2)
    assert (figures["self_preference_others"].value, figures["self_preference_others"].n) == (0.25, 1)


def test_sources_count_questions_whose_orders_agree() -> None:
    rows = make_questions(["12", "12", "==", "11", "1?"], source_a="x", source_b="y")
    assert {source: (figure.value, figure.n) for source, figure in measure_sources(rows).items()} == {
        "x": (2.5 / 3, 3),
        "y": (0.5 / 3, 3),
    }


def make_soft(
    p_first: float | None, number: int, *, order: str = "ab", ground_truth: str | None = "a"
) -> JudgedRow:
    (row,) = make_question_with("1", number, ground_truth=ground_truth)
    return replace(row, p_first=p_first, order="ba" if order == "ba" else "ab")


def test_a_soft_label_is_the_mean_of_the_orders() -> None:
    labels = list_soft_labels(
        [make_soft(0.9, 0), make_soft(0.3, 0, order="ba"), make_soft(0.8, 1, ground_truth="tie")]
    )
    assert [(label.cluster, label.ground_truth_a) for label in labels] == [("p0", True)]
    assert labels[0].p_a == pytest.approx(0.8)


def test_brier_and_ece_of_four_labels() -> None:
    """Confidences 0.9 hit, 0.9 missed (one bin, gap |0.1 - 0.9|), 0.6 hit (0.4), 0.5 half a hit (0)."""
    rows = [
        make_soft(0.9, 0),
        make_soft(0.9, 1, ground_truth="b"),
        make_soft(0.4, 2, ground_truth="b"),
        make_soft(0.5, 3),
    ]
    figures = measure_calibration(list_soft_labels(rows))
    assert figures["brier"].value == pytest.approx((0.01 + 0.81 + 0.16 + 0.25) / 4)
    assert figures["ece"].value == pytest.approx((0.8 + 0.4 + 0.0) / 4)
    assert figures["ece"].n == figures["brier"].n == 4


@pytest.mark.parametrize(
    ("p_a", "place"), [(0.5, 0), (0.55, 1), (0.45, 1), (0.3, 4), (0.7, 4), (1.0, 9), (0.0, 9)]
)
def test_a_label_and_its_mirror_image_are_in_one_bin(p_a: float, place: int) -> None:
    assert SoftLabel(cluster="p", p_a=p_a, ground_truth_a=True).bin == place


def test_repeats_of_one_question() -> None:
    """In ab 2 of 3 pairs of repeats differ; in ba the two agree; a missing verdict is left out."""
    verdicts = ["12", "12", "2?"]
    rows = [row for number, text in enumerate(verdicts) for row in make_question("p", text, repeat=number)]
    figures = measure_stability(rows)
    assert (figures["repeat_agreement"].value, figures["repeat_agreement"].n) == ((1 / 3 + 1) / 2, 2)
    # Ratings a a b, and a a: observed (3 * 1/3 + 2) / 5, chance (4 * 3 + 0) / (5 * 4).
    assert figures["repeat_alpha"].value == pytest.approx((0.6 - 0.6) / 0.4)


def test_verdicts_asked_once_show_no_stability() -> None:
    assert measure_stability(make_questions(["12", "11"]))["repeat_agreement"] == Figure.absent()


def test_three_judges_meet_where_all_have_a_verdict() -> None:
    verdicts = {"x": "12=?", "y": "122?", "z": "1211"}
    rows = [
        row
        for judge, text in verdicts.items()
        for number, verdict in enumerate(text)
        for row in make_question(f"p{number}", verdict, judge=judge)
    ]
    result = measure_raters(group_by_judge(rows))
    assert result is not None
    assert (result.unanimous.value, result.unanimous.n) == (2 / 3, 3)
    assert result.krippendorff_alpha.n == 3
    assert [(pair.judges, pair.agreement.value) for pair in result.pairs] == [
        (("x", "y"), 2 / 3),
        (("x", "z"), 2 / 3),
        (("y", "z"), 2 / 3),
    ]


def test_one_judge_has_nobody_to_agree_with() -> None:
    assert measure_verdicts(make_questions(["12"])).raters is None


def test_what_came_of_the_questions_is_counted_apart() -> None:
    ok, refused, failed, unparsed = make_questions(["1", "?", "?", "?"])
    rows = [
        replace(ok, status="ok"),
        replace(refused, status="refused"),
        replace(failed, status="failed"),
        replace(unparsed, status="unparsed"),
    ]
    figures = measure_verdicts(rows).judges["judge"]
    assert [figures[key].value for key in ("unparsed", "refused", "failed")] == [0.25, 0.25, 0.25]


def test_without_a_status_nothing_is_known_of_refusals() -> None:
    figures = measure_verdicts(make_questions(["1?"])).judges["judge"]
    assert figures["unparsed"].value == 0.5
    assert figures["refused"] == figures["failed"] == Figure.absent()


def test_what_a_file_does_not_show_is_absent_and_not_zero() -> None:
    figures = measure_verdicts([*make_question(PairFacts(pair_id="p"), "1")]).judges["judge"]
    known = {key for key, figure in figures.items() if figure.value is not None}
    assert known == {"pairs", "unparsed", "tie_rate", "first_rate"}
