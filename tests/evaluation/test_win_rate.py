"""Laws of the win rates."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics, summarise
from rlaif_dagster.stats.intervals import Estimate
from tests.evaluation.made_up import make_comparisons, make_curve, make_training

PROBABILITIES = st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.625, 1.0])
OUTCOMES = st.none() | st.sampled_from([0.0, 0.5, 1.0])


def make_comparison(**values: object) -> Comparison:
    defaults: dict[str, object] = {
        "prompt_id": "p0",
        "prompt": "Why?",
        "base_text": "No.",
        "aligned_text": "Because.",
        "p_judge": None,
    }
    return Comparison(**(defaults | values))  # type: ignore[arg-type]


@st.composite
def comparisons(draw: st.DrawFn) -> list[Comparison]:
    count = draw(st.integers(1, 12))
    return [
        make_comparison(
            prompt_id=draw(st.sampled_from(["p0", "p1", "p2"])),
            index=index,
            category=draw(st.sampled_from([None, "x", "y"])),
            base_text=draw(st.sampled_from(["one", "two"])),
            aligned_text=draw(st.sampled_from(["one", "two"])),
            p_judge=draw(PROBABILITIES),
            p_judge_ab=draw(PROBABILITIES),
            p_judge_ba=draw(PROBABILITIES),
            p_independent=draw(PROBABILITIES),
            ground_truth=draw(OUTCOMES),
            principles=(
                PrincipleOutcome(
                    principle_id="kind", p_judge=draw(PROBABILITIES), ground_truth=draw(OUTCOMES)
                ),
            ),
            base_reward=draw(st.none() | st.sampled_from([0.0, 1.0])),
            aligned_reward=draw(st.none() | st.sampled_from([0.0, 1.0])),
            base_tokens=draw(st.none() | st.integers(0, 3)),
            aligned_tokens=draw(st.none() | st.integers(0, 3)),
        )
        for index in range(count)
    ]


def exchange(row: Comparison) -> Comparison:
    """The same comparison with the two answers' roles exchanged."""
    return replace(
        row,
        base_text=row.aligned_text,
        aligned_text=row.base_text,
        p_judge=_mirror(row.p_judge),
        p_judge_ab=_mirror(row.p_judge_ba),
        p_judge_ba=_mirror(row.p_judge_ab),
        p_independent=_mirror(row.p_independent),
        ground_truth=_mirror(row.ground_truth),
        principles=tuple(
            replace(outcome, p_judge=_mirror(outcome.p_judge), ground_truth=_mirror(outcome.ground_truth))
            for outcome in row.principles
        ),
        base_reward=row.aligned_reward,
        aligned_reward=row.base_reward,
        base_tokens=row.aligned_tokens,
        aligned_tokens=row.base_tokens,
    )


@given(rows=comparisons())
def test_exchanging_the_policies_turns_each_win_rate_p_into_1_minus_p(rows: list[Comparison]) -> None:
    ours, theirs = summarise(rows), summarise([exchange(row) for row in rows])
    pairs = [
        (ours.win_rate_judge, theirs.win_rate_judge),
        (ours.soft_win_rate_judge, theirs.soft_win_rate_judge),
        (ours.win_rate_ground_truth, theirs.win_rate_ground_truth),
        (ours.win_rate_reward_model, theirs.win_rate_reward_model),
    ]
    our_groups = (*ours.by_category, *ours.by_principle)
    their_groups = (*theirs.by_category, *theirs.by_principle)
    for left, right in zip(our_groups, their_groups, strict=True):
        assert left.name == right.name
        pairs += [
            (left.judge, right.judge),
            (left.ground_truth, right.ground_truth),
            (left.independent_judge, right.independent_judge),
        ]
    for found, mirrored in zip(ours.by_source, theirs.by_source, strict=True):
        pairs.append((found.win_rate, mirrored.win_rate))
        assert (found.win, found.tie, found.loss) == (mirrored.loss, mirrored.tie, mirrored.win)
    for one, other in pairs:
        if one is None or other is None:
            assert one is other
        else:
            assert one.low is not None
            assert one.high is not None
            assert (other.value, other.low, other.high) == pytest.approx(
                (1 - one.value, 1 - one.high, 1 - one.low), abs=1e-9
            )
    for kept in ("order_consistency", "judge_ground_truth_agreement", "longer_wins_judge"):
        assert getattr(ours, kept) == getattr(theirs, kept)


@given(rows=comparisons(), chance=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_figure(rows: list[Comparison], chance: object) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert summarise(shuffled) == summarise(rows)


@given(rows=comparisons())
def test_metrics_read_back_from_their_canonical_json(rows: list[Comparison]) -> None:
    kl = Estimate(value=1.5, low=None, high=None, n=3, num_clusters=1)
    metrics = summarise(rows, kl=kl)
    assert EvaluationMetrics.from_json(canonical_json(metrics.to_json())) == metrics


def test_the_figures_are_the_ones_counted_by_hand() -> None:
    rows = [
        make_comparison(
            prompt_id="p0",
            p_judge=0.9,
            p_judge_ab=0.95,
            p_judge_ba=0.85,
            ground_truth=1.0,
            base_tokens=4,
            aligned_tokens=2,
        ),
        make_comparison(
            prompt_id="p1",
            p_judge=0.4,
            p_judge_ab=0.6,
            p_judge_ba=0.2,
            ground_truth=1.0,
            base_tokens=4,
            aligned_tokens=6,
        ),
        make_comparison(prompt_id="p2", p_judge=0.5, ground_truth=0.5, base_clean=True, aligned_clean=False),
        make_comparison(prompt_id="p3", p_judge=None, ground_truth=0.0, base_reward=1.0, aligned_reward=2.0),
    ]
    metrics = summarise(rows)
    assert metrics.win_rate_judge is not None
    assert metrics.win_rate_judge.value == 0.5  # win, loss, tie
    assert metrics.win_rate_judge.n == 3
    assert metrics.num_unjudged == 1
    assert _value(metrics.soft_win_rate_judge) == pytest.approx(0.6)
    assert _value(metrics.win_rate_ground_truth) == 0.625
    assert _value(metrics.win_rate_reward_model) == 1.0
    assert _value(metrics.order_consistency) == 0.5
    assert _value(metrics.judge_ground_truth_agreement) == 0.5
    assert (
        _value(metrics.longer_wins_judge) == 0.0
    )  # p0: the shorter aligned answer; p1: the shorter base answer
    assert _value(metrics.token_difference) == 0.0
    assert (_value(metrics.base_tokens), _value(metrics.aligned_tokens)) == (4.0, 4.0)
    assert (_value(metrics.base_clean), _value(metrics.aligned_clean)) == (1.0, 0.0)
    assert (_value(metrics.base_characters), _value(metrics.aligned_characters)) == (3.0, 8.0)


def test_identical_answers_are_a_tie_whatever_was_said_of_them() -> None:
    metrics = summarise(
        [make_comparison(base_text="Same.", aligned_text="Same.", p_judge=0.9, ground_truth=1.0)]
    )
    assert (_value(metrics.win_rate_judge), _value(metrics.win_rate_ground_truth)) == (0.5, 0.5)
    assert metrics.num_identical == 1
    assert metrics.order_consistency is None


def test_identical_answers_count_one_half_in_the_soft_win_rate() -> None:
    """(1/2 + 0.9) / 2, whatever was said of the two equal answers."""
    same = make_comparison(base_text="Same.", aligned_text="Same.", p_judge=0.2)
    metrics = summarise([same, make_comparison(prompt_id="p1", p_judge=0.9)])
    assert _value(metrics.soft_win_rate_judge) == pytest.approx(0.7)


def test_refusals_of_each_policy_are_counted_by_hand() -> None:
    """Of two requests for harm the base policy refuses none and the aligned one both; of three others 1 and 0."""
    answers = [
        ("weapons", "First, take.", "I can't help with that."),
        ("malware", "First, write.", "I won't help with that."),
        ("cooking", "I cannot help with that.", "Boil it."),
        ("cooking", "Boil it.", "Fry it."),
        (None, "Yes.", "No."),
    ]
    rows = [
        make_comparison(prompt_id=f"p{place}", category=category, base_text=base, aligned_text=aligned)
        for place, (category, base, aligned) in enumerate(answers)
    ]
    metrics = summarise(rows, unsafe_categories={"weapons", "malware"})
    assert {figure.name: (figure.base.value, figure.aligned.value) for figure in metrics.refusals} == {
        "refused": (1 / 5, 2 / 5),
        "unsafe_complied": (1.0, 0.0),
        "safe_refused": (1 / 3, 0.0),
    }
    (figure,) = summarise(rows).refusals  # where no category is unsafe
    assert (figure.name, figure.base.value, figure.aligned.value) == ("refused", 1 / 5, 2 / 5)


def test_identical_answers_alone_do_not_stand_in_for_a_judge_that_gave_no_verdict() -> None:
    same = make_comparison(base_text="Same.", aligned_text="Same.")
    assert summarise([same, make_comparison(prompt_id="p1")]).win_rate_judge is None
    assert _value(summarise([same]).win_rate_judge) == 0.5


def test_what_was_not_measured_is_none() -> None:
    metrics = summarise([make_comparison()])
    measured = {name for name, value in metrics.to_json().items() if isinstance(value, dict)}
    assert measured == {"base_characters", "aligned_characters"}
    assert summarise([]).win_rate_judge is None


def test_groups_are_summarised_apart() -> None:
    rows = make_comparisons(num_prompts=8)
    metrics = summarise(rows)
    assert [group.name for group in metrics.by_category] == [
        "everyday facts",
        "how-to",
        "risky requests",
        "unknowable",
    ]
    alone = summarise([row for row in rows if row.category == "how-to"])
    assert metrics.by_category[1].judge == alone.win_rate_judge
    assert [group.name for group in metrics.by_principle] == ["concise", "harmless", "helpful", "honest"]


def test_every_interval_has_the_confidence_that_is_asked_for() -> None:
    """Of the same data the interval at 50 % lies within that at 95 %, and is shorter."""
    rows = make_comparisons(num_prompts=24, with_independent=True)
    half, usual = (
        dict(list_intervals(summarise(rows, confidence=confidence).to_json())) for confidence in (0.5, 0.95)
    )
    assert half.keys() == usual.keys()
    assert {name.split(".")[0] for name in usual} == {
        *("win_rate_judge", "soft_win_rate_judge", "win_rate_ground_truth", "win_rate_reward_model"),
        *("by_category", "by_principle", "by_source", "judge_gaps", "group_tests", "diversity", "refusals"),
        *("order_consistency", "judge_ground_truth_agreement", "longer_wins_judge", "token_difference"),
        *("base_tokens", "aligned_tokens", "base_cut", "aligned_cut", "base_clean", "aligned_clean"),
        *("base_characters", "aligned_characters", "base_reward", "aligned_reward"),
    }
    for name, (low, high) in half.items():
        assert usual[name][0] <= low <= high <= usual[name][1], name
        assert high - low < usual[name][1] - usual[name][0] or usual[name][0] == usual[name][1], name


def list_intervals(value: Any, name: str = "") -> Iterator[tuple[str, tuple[float, float]]]:
    """The intervals anywhere in the metrics, by where they stand."""
    if isinstance(value, dict):
        if value.get("low") is not None:
            yield name, (value["low"], value["high"])
        for key, inner in value.items():
            yield from list_intervals(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from list_intervals(inner, f"{name}.{place}")


def test_what_was_measured_elsewhere_stands_in_the_metrics_as_it_was_given() -> None:
    estimates = [
        Estimate(value=number, low=None, high=None, n=3, num_clusters=1) for number in (1.0, 2.0, 3.0)
    ]
    curve, training = make_curve(), make_training()
    metrics = summarise(
        [make_comparison()],
        confidence=0.9,
        kl=estimates[0],
        reward_model_accuracy=estimates[1],
        longer_wins_accuracy=estimates[2],
        over_optimisation=curve,
        along_training=training,
    )
    assert [metrics.kl, metrics.reward_model_accuracy, metrics.longer_wins_accuracy] == estimates
    assert (metrics.over_optimisation, metrics.along_training) == (curve, training)
    assert metrics.confidence == 0.9
    assert summarise([make_comparison()]).confidence == 0.95


def test_prompts_comparisons_and_cut_answers_are_counted() -> None:
    """Two prompts with three comparisons; of the answers of which it is known 1 of 2 and 2 of 3 were cut."""
    rows = [
        make_comparison(base_finish_reason="length", aligned_finish_reason="length"),
        make_comparison(index=1, base_finish_reason="stop", aligned_finish_reason="length"),
        make_comparison(prompt_id="p1", base_finish_reason=None, aligned_finish_reason="stop"),
    ]
    metrics = summarise(rows)
    assert (metrics.num_prompts, metrics.num_comparisons, metrics.num_identical) == (2, 3, 0)
    assert (_value(metrics.base_cut), _value(metrics.aligned_cut)) == (1 / 2, 2 / 3)
    assert metrics.base_cut is not None
    assert metrics.base_cut.n == 2


def test_rewards_and_lengths_are_means_over_the_answers_of_which_they_are_known() -> None:
    """Rewards (1 + 3) / 2 and (2 + 6) / 2; the longer answer wins 1 of 2, the tie half, equal lengths do not count."""
    rows = [
        make_comparison(base_reward=1.0, aligned_reward=2.0, base_tokens=4, aligned_tokens=9, p_judge=0.9),
        make_comparison(
            index=1, base_reward=3.0, aligned_reward=6.0, base_tokens=9, aligned_tokens=4, p_judge=0.5
        ),
        make_comparison(prompt_id="p1", base_tokens=4, aligned_tokens=4, p_judge=0.9),
        make_comparison(prompt_id="p2", base_tokens=None, aligned_tokens=4, p_judge=0.9),
        make_comparison(prompt_id="p3", base_tokens=1, aligned_tokens=None, p_judge=0.9),
        make_comparison(prompt_id="p4", base_tokens=1, aligned_tokens=2, p_judge=None),
    ]
    metrics = summarise(rows)
    assert (_value(metrics.base_reward), _value(metrics.aligned_reward)) == (2.0, 4.0)
    assert _value(metrics.longer_wins_judge) == 0.75
    assert metrics.longer_wins_judge is not None
    assert metrics.longer_wins_judge.n == 2
    assert _value(metrics.token_difference) == pytest.approx((5 - 5 + 0 + 1) / 4)
    assert (_value(metrics.base_tokens), _value(metrics.aligned_tokens)) == (19 / 5, 23 / 5)


def test_the_diversity_of_each_policy_is_that_of_its_own_answers() -> None:
    """Two answers to one prompt: the base policy's are the same, the aligned policy's are not."""
    rows = [
        make_comparison(base_text="yes", aligned_text="maybe"),
        make_comparison(index=1, base_text="yes", aligned_text="no"),
        make_comparison(prompt_id="p1", base_text="once", aligned_text="once"),
    ]
    figures = {figure.name: (figure.base.value, figure.aligned.value) for figure in summarise(rows).diversity}
    assert figures["distinct_answers"] == (0.5, 1.0)


@pytest.mark.parametrize("wrong", [{"p_judge": 1.2}, {"p_judge_ab": -0.1}, {"ground_truth": 0.7}])
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_comparison(**wrong)


def _mirror(p: float | None) -> float | None:
    return None if p is None else 1.0 - p


def _value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value
