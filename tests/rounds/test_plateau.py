"""The figures of a round by numbers worked by hand, and the one rule by which they pass."""

from dataclasses import replace
from typing import Any

import pytest

from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.rounds.plateau import (
    PlateauSettings,
    Signal,
    list_reasons,
    measure_distinct_ratio,
    measure_gain,
    measure_gap,
    measure_length_growth,
    watch_judge,
    watch_round,
)
from rlaif_dagster.rounds.report import render_rounds

AUDIT: dict[str, Any] = {
    "reference": None,
    "verdicts": {"judges": {"some": {}}},
    "labels": {"judges": {}},
    "human": None,
    "policy": None,
}


def compare(
    prompt_id: str,
    p_judge: float | None,
    *,
    base: str = "a b",
    aligned: str = "a b c",
    tokens: tuple[int | None, int | None] = (4, 4),
    independent: float | None = None,
    index: int = 0,
) -> Comparison:
    return Comparison(
        prompt_id=prompt_id,
        prompt="?",
        base_text=base,
        aligned_text=aligned,
        p_judge=p_judge,
        p_independent=independent,
        index=index,
        base_tokens=tokens[0],
        aligned_tokens=tokens[1],
    )


def test_the_gain_is_the_paired_difference_of_win_rates() -> None:
    """Three prompts, won, tied, lost before, and won, won, tied now: (0 + 0.5 + 0.5) / 3, t interval on 2 degrees."""
    before = [compare("x", 0.9), compare("y", 0.5), compare("z", 0.1)]
    now = [compare("x", 0.9), compare("y", 0.9), compare("z", 0.5)]
    gain = measure_gain(now, before, confidence=0.95)
    assert gain is not None
    assert gain.value == pytest.approx(1 / 3)
    # Residuals -1/3, 1/6, 1/6: variance of the mean 3/2 * (1/9 + 2/36) / 9 = 1/36; t(0.975, 2) = 4.30265.
    assert gain.low == pytest.approx(1 / 3 - 4.30265 / 6, abs=1e-4)


def test_the_first_gain_is_over_an_even_match_and_what_was_not_judged_twice_is_left_out() -> None:
    first = measure_gain([compare("x", 0.9), compare("y", None)], None, confidence=0.95)
    assert first is not None
    assert (first.value, first.n) == (0.5, 1)
    assert measure_gain([compare("x", 0.9)], [compare("x", None)], confidence=0.95) is None


def test_an_independent_judge_has_the_word_where_there_is_one() -> None:
    """The judge that labelled the pairs says that y was lost and is won; the other that it was won and is lost."""
    before = [compare("x", 0.9, independent=0.9), compare("y", 0.1, independent=0.9)]
    now = [compare("x", 0.9, independent=0.9), compare("y", 0.9, independent=0.1)]
    gain = measure_gain(now, before, confidence=0.95)
    assert gain is not None
    assert gain.value == -0.5


def test_an_independent_judge_has_the_word_though_some_comparisons_lack_it() -> None:
    """By the other judge x is won: 1 - 1/2. Of y it says nothing, so y does not count, whatever the judge says."""
    rows = [compare("x", 0.1, independent=0.9), compare("y", 0.1)]
    gain = measure_gain(rows, None, confidence=0.95)
    assert gain is not None
    assert (gain.value, gain.n) == (0.5, 1)
    before = [compare("x", 0.9), compare("y", 0.1, independent=0.1)]
    assert measure_gain(rows, before, confidence=0.95) is None  # x was not judged before, and y is not now


def test_the_gap_is_how_far_the_judge_parts_the_two_answers() -> None:
    gap = measure_gap([{"p_a": 0.9, "prompt_id": "x"}, {"p_a": 0.4, "prompt_id": "y"}], confidence=0.95)
    assert gap is not None
    assert gap.value == pytest.approx((0.8 + 0.2) / 2)
    assert measure_gap([], confidence=0.95) is None


def test_length_growth_is_a_ratio_of_sums() -> None:
    """(6 + 6) / (4 + 2) = 2: not the mean of the ratios, 2.25."""
    rows = [compare("x", 0.9, tokens=(4, 6)), compare("y", 0.9, tokens=(2, 6))]
    growth = measure_length_growth(rows, confidence=0.95)
    assert growth is not None
    assert growth.value == pytest.approx(2.0)
    # Values 2 + (6 - 8) / 3 and 2 + (6 - 4) / 3: half a width of t(0.975, 1) * 2/3 = 12.7062 * 0.66667.
    assert growth.high == pytest.approx(2 + 12.7062 * 2 / 3, abs=1e-3)


def test_comparisons_without_token_counts_change_nothing_in_length_growth() -> None:
    """Such as answers that a server wrote and did not count."""
    rows = [compare("x", 0.9, tokens=(4, 6)), compare("y", 0.9, tokens=(2, 6))]
    uncounted = [
        compare("z", 0.9, tokens=(None, 6)),
        compare("x", 0.9, tokens=(8, None), index=1),
        compare("w", 0.9, tokens=(None, None)),
    ]
    growth = measure_length_growth(rows, confidence=0.95)
    assert growth is not None
    assert measure_length_growth([*uncounted, *rows], confidence=0.95) == growth
    assert measure_length_growth(uncounted, confidence=0.95) is None


def test_diversity_counts_different_pairs_of_words() -> None:
    """Base: (a b), (c d), both different: 1. Aligned: (a b), (b a), (a b), (b a): 2 of 4."""
    rows = [
        compare("x", 0.9, base="a b", aligned="a b a"),
        compare("y", 0.9, base="c d", aligned="A b a"),
    ]
    assert measure_distinct_ratio(rows) == pytest.approx(0.5)
    assert measure_distinct_ratio([compare("x", 0.9, base="a")]) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "is_floor", "passes"),
    [
        (0.2, 0.1, 0.3, True, True),
        (0.2, 0.0, 0.4, True, False),  # the end on the threshold does not pass
        (0.2, None, None, True, False),  # one prompt shows nothing
        (-0.2, -0.3, -0.1, False, True),
        (0.2, -0.1, 0.3, False, False),
        (None, None, None, True, None),
    ],
)
def test_a_figure_passes_if_its_whole_interval_is_on_the_good_side(
    value: float | None, low: float | None, high: float | None, is_floor: bool, passes: bool | None
) -> None:
    signal = Signal(name="n", label="n", value=value, low=low, high=high, threshold=0.0, is_floor=is_floor)
    assert signal.passes is passes


@pytest.mark.parametrize(
    ("value", "threshold", "is_floor"),
    [
        ((2 / 5) / (2 / 3), 0.6, True),  # in floating point above it
        ((1 / 5) / (2 / 3), 0.3, True),
        (1.0 - 0.9, 0.1, False),  # in floating point below it
    ],
)
def test_a_figure_that_is_its_threshold_but_for_rounding_does_not_pass(
    value: float, threshold: float, is_floor: bool
) -> None:
    assert value != threshold
    figure = {"name": "n", "label": "n", "value": value, "low": value, "high": value}
    assert Signal(**figure, threshold=threshold, is_floor=is_floor).passes is False  # type: ignore[arg-type]


def test_only_the_gain_has_to_be_measured() -> None:
    """A judge without verdicts, and a truth that nobody knows."""
    signals = watch_round([compare("x", None)], None, [], AUDIT, PlateauSettings(), confidence=0.95)
    assert {signal.name: signal.passes for signal in signals if signal.value is None} == {
        "gain": False,
        "gap": None,
        "disagreement": None,
        "judge_minus_policy": None,
    }
    page = render_rounds([{"round": 1, "signals": [s.to_json() for s in signals], "reasons": ["<gain>"]}])
    assert "Stopped after round 1" in page
    assert "&lt;gain&gt;" in page


def test_disagreement_is_the_rest_of_accuracy_and_each_judge_of_a_jury_is_held_to_it() -> None:
    right = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10}
    wrong = {"value": 0.5, "low": 0.3, "high": 0.7, "n": 10}
    audit: dict[str, Any] = {
        "reference": "human",
        "verdicts": {"judges": {"good": {}, "poor": {}}},
        "labels": {"judges": {}},
        "human": {"judges": {"good": {"accuracy": right}, "poor": {"accuracy": wrong}}},
        "policy": None,
    }
    signals = {
        signal.name: signal
        for signal in watch_round([compare("x", 0.9)], None, [], audit, PlateauSettings(), confidence=0.95)
    }
    good = signals["disagreement good"]
    assert (good.value, good.low, good.high) == pytest.approx((0.2, 0.1, 0.3))
    assert (good.passes, signals["disagreement poor"].passes) == (True, False)


def make_audit(accuracy: dict[str, Any], *judges: str) -> dict[str, Any]:
    """An audit whose judges are this right by people, and right by 0.3 more often than the policy."""
    stronger = {"value": 0.3, "low": 0.2, "high": 0.4, "n": 10}
    return {
        "reference": "human",
        "verdicts": {"judges": {judge: {} for judge in judges}},
        "labels": {"judges": {}},
        "human": {"judges": {judge: {"accuracy": accuracy} for judge in judges}},
        "policy": {"judge_minus_policy": dict.fromkeys(judges, stronger)},
    }


ROUND = [compare("x", 0.9, tokens=(4, 6)), compare("y", 0.9, tokens=(2, 6))]
PAIRS = [{"p_a": 0.9, "prompt_id": "x"}, {"p_a": 0.4, "prompt_id": "y"}]
ACCURACY = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10}


def test_what_speaks_against_a_round_says_the_figure_its_interval_and_what_was_asked() -> None:
    """Gain 1 - 1/2 for both; gap (0.8 + 0.2) / 2; 1 - 0.8; 12 over 6 tokens; all word pairs differ, over 1 of 2."""
    settings = PlateauSettings(
        min_gain=0.9, min_gap=0.75, max_disagreement=0.1, max_length_growth=1.5, min_diversity=2.0
    )
    rows = [*ROUND[:1], replace(ROUND[1], aligned_text="a d e")]
    audit = make_audit(ACCURACY, "some")
    audit["policy"]["judge_minus_policy"]["some"] = {"value": -0.1, "low": -0.25, "high": 0.05, "n": 10}
    signals = watch_round(rows, None, PAIRS, audit, settings, confidence=0.95)
    assert list_reasons(signals) == [
        "gain over the round before 0.500 (-0.486 to 0.829), must be above 0.9",
        "chosen-rejected gap 0.500 (0.004 to 0.996), must be above 0.75",
        "share of pairs on which the judge contradicts people 0.200 (0.100 to 0.300), must be below 0.1",
        "judge right more often than the policy that it judged, by -0.100 (-0.250 to 0.050), must be above 0",
        "tokens over the base policy's 2.000 (-6.471 to 10.471), must be below 1.5",
        "diversity over the base policy's 2.000, must be above 2",
    ]


def test_each_figure_lies_above_or_below_the_threshold_of_its_setting() -> None:
    settings = PlateauSettings(
        min_gain=0.1, min_gap=0.2, max_disagreement=0.3, max_length_growth=4.0, min_diversity=0.6
    )
    signals = watch_round(ROUND, None, PAIRS, make_audit(ACCURACY, "some"), settings, confidence=0.95)
    assert [(s.name, s.threshold, s.is_floor, s.is_needed) for s in signals] == [
        ("gain", 0.1, True, True),
        ("gap", 0.2, True, False),
        ("disagreement", 0.3, False, False),
        ("judge_minus_policy", 0.0, True, False),
        ("length", 4.0, False, False),
        ("diversity", 0.6, True, False),
    ]
    (_, _, _, stronger, _, diversity) = signals
    assert (stronger.value, stronger.low, stronger.high) == (0.3, 0.2, 0.4)
    assert diversity.low == diversity.value == diversity.high
    assert signals[1:4] == watch_judge(PAIRS, make_audit(ACCURACY, "some"), settings, confidence=0.95)


def test_the_gain_of_a_later_round_is_over_the_round_before() -> None:
    """Both were won then and are won now: no gain; over the base policy it would be one half."""
    first, *_ = watch_round(ROUND, ROUND, PAIRS, AUDIT, PlateauSettings(), confidence=0.95)
    assert (first.name, first.value) == ("gain", 0.0)


def test_disagreement_is_with_the_labels_where_the_truth_is_that_of_the_world() -> None:
    audit = make_audit({**ACCURACY, "value": 0.1}, "some")
    audit |= {"reference": "ground_truth", "labels": {"judges": {"some": {"accuracy": ACCURACY}}}}
    (_, disagreement, _) = watch_judge([], audit, PlateauSettings(), confidence=0.95)
    assert disagreement.value == pytest.approx(0.2)


def test_what_nobody_asks_for_is_measured_and_stops_nothing() -> None:
    settings = PlateauSettings(
        min_gap=None,
        max_disagreement=None,
        max_length_growth=None,
        min_diversity=None,
        stronger_than_policy=False,
    )
    signals = watch_round(ROUND, None, PAIRS, make_audit(ACCURACY, "some"), settings, confidence=0.95)
    assert {signal.name for signal in signals if signal.threshold is None and signal.value is not None} == {
        "gap",
        "disagreement",
        "judge_minus_policy",
        "length",
        "diversity",
    }
    assert {signal.passes for signal in signals[1:]} == {None}


def test_every_interval_that_is_made_here_has_the_confidence_that_is_asked_for() -> None:
    audit, settings = make_audit(ACCURACY, "some"), PlateauSettings()
    for confidence in (0.5, 0.95):
        signals = {
            signal.name: (signal.low, signal.high)
            for signal in watch_round(ROUND, None, PAIRS, audit, settings, confidence=confidence)
        }
        expected = {
            "gain": measure_gain(ROUND, None, confidence=confidence),
            "gap": measure_gap(PAIRS, confidence=confidence),
            "length": measure_length_growth(ROUND, confidence=confidence),
        }
        for name, estimate in expected.items():
            assert estimate is not None
            assert signals[name] == (estimate.low, estimate.high)
    assert len({measure_length_growth(ROUND, confidence=c) for c in (0.5, 0.95)}) == 2
    assert len({measure_gap(PAIRS, confidence=c) for c in (0.5, 0.95)}) == 2
    assert len({measure_gain(ROUND, None, confidence=c) for c in (0.5, 0.95)}) == 2


def test_each_judge_of_a_jury_has_figures_with_its_name() -> None:
    audit = make_audit(ACCURACY, "one", "other")
    signals = watch_judge([], audit, PlateauSettings(), confidence=0.95)
    assert [signal.name for signal in signals] == [
        "gap",
        "disagreement one",
        "judge_minus_policy one",
        "disagreement other",
        "judge_minus_policy other",
    ]
    assert signals[1].label == "share of pairs on which the judge one contradicts people"
    assert signals[2].label == "judge one right more often than the policy that it judged, by"


def test_without_a_truth_nobody_knows_how_often_the_judge_is_wrong() -> None:
    """Whatever the labels' own section says."""
    audit = make_audit(ACCURACY, "some") | {"reference": None}
    audit["labels"] = audit["human"]
    signals = {signal.name: signal for signal in watch_judge([], audit, PlateauSettings(), confidence=0.95)}
    assert signals["disagreement"].value is None
    assert signals["judge_minus_policy"].value == 0.3


def test_a_figure_whose_interval_is_unknown_stays_without_one() -> None:
    accuracy = {"value": 0.8, "low": None, "high": None, "n": 10}
    (_, disagreement, _) = watch_judge([], make_audit(accuracy, "some"), PlateauSettings(), confidence=0.95)
    assert disagreement.value == pytest.approx(0.2)
    assert (disagreement.low, disagreement.high) == (None, None)


def test_a_figure_is_written_with_whether_it_passes() -> None:
    signal = Signal(name="n", label="l", value=0.5, low=0.4, high=0.6, threshold=0.3, is_floor=True)
    assert signal.to_json() == {
        "name": "n",
        "label": "l",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "threshold": 0.3,
        "is_floor": True,
        "is_needed": False,
        "passes": True,
    }


def test_a_gain_pairs_the_answers_of_one_prompt_by_their_number() -> None:
    """Of x the first answer was won before and the second is won now: -1 and +1, and not 0 twice."""
    before = [compare("x", 0.9), compare("x", 0.1, index=1), compare("y", 0.5)]
    now = [compare("x", 0.1), compare("x", 0.9, index=1), compare("y", 0.9), compare("z", 0.9)]
    gain = measure_gain(now, before, confidence=0.95)
    assert gain is not None
    assert gain.value == pytest.approx(0.5 / 3)
    assert (gain.n, gain.num_clusters) == (3, 2)


def test_a_gain_stays_within_what_is_possible() -> None:
    """All lost before and all won now: 1, and no more."""
    before = [compare(prompt, 0.1) for prompt in "xyz"]
    now = [compare(prompt, 0.9) for prompt in "xyz"]
    gain = measure_gain(now, before, confidence=0.95)
    assert gain is not None
    assert (gain.value, gain.high) == (1.0, 1.0)
    # Wilson's upper bound for 0 of 3, 3.841459 / 6.841459 = 0.561497, times the distance 2 to the other end.
    assert gain.low == pytest.approx(1 - 2 * 0.561497, abs=5e-6)
    losses = measure_gain(before, now, confidence=0.95)
    assert losses is not None
    assert losses.low == -1.0
    assert losses.high == pytest.approx(2 * 0.561497 - 1, abs=5e-6)


def test_the_gap_of_two_prompts_is_no_surer_than_two() -> None:
    """Pairs of one prompt are one cluster."""
    gap = measure_gap([*PAIRS, *PAIRS], confidence=0.95)
    once = measure_gap(PAIRS, confidence=0.95)
    assert gap is not None
    assert once is not None
    assert (gap.low, gap.high) == pytest.approx((once.low, once.high))
    assert gap.num_clusters == 2


def test_answers_without_any_token_of_the_base_policy_have_no_length_growth() -> None:
    assert measure_length_growth([compare("x", 0.9, tokens=(0, 3))], confidence=0.95) is None


def test_answers_without_two_words_are_not_diverse() -> None:
    assert measure_distinct_ratio([compare("x", 0.9, base="a b", aligned="a")]) == 0.0
