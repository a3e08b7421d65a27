"""Laws of the curve along training: what reward and win rate do, and when they are said to come apart."""

import math
import random
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlaif_dagster.evaluation.along_training import AlongTraining, ScoredAnswer, trace_along_training
from rlaif_dagster.evaluation.limits import list_limits
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics

OUTCOMES = st.sampled_from([0.0, 0.5, 1.0])


def make_answers(
    outcomes: Mapping[int, Callable[[int], float | None]], *, num_prompts: int, noise: float = 0.0
) -> list[ScoredAnswer]:
    """Answers whose reward is the number of steps / 10 with noise, and whose KL is the square of that number."""
    chance = random.Random(2)  # noqa: S311 (made-up numbers, not secrets)
    return [
        ScoredAnswer(
            step=step,
            prompt_id=f"p{number}",
            index=0,
            reward=step / 10 + chance.gauss(0, noise),
            kl=(step / 10) ** 2,
            outcome=outcome(number),
        )
        for step, outcome in outcomes.items()
        for number in range(num_prompts)
    ]


def trace(answers: list[ScoredAnswer], *, kept_step: int = 0) -> AlongTraining:
    curve = trace_along_training(answers, scorer="ground_truth", kept_step=kept_step)
    assert curve is not None
    return curve


def even(_: int) -> float:
    return 0.5


def test_the_figures_worked_by_hand() -> None:
    """Four prompts. Step 10 wins three of four; step 20 wins, ties and loses: 1, 0.5, 0, 0, so it changes by
    0, -0.5, -1, 0: the mean is -0.375."""
    outcomes: dict[int, Callable[[int], float]] = {
        0: even,
        10: (1.0, 1.0, 1.0, 0.0).__getitem__,
        20: (1.0, 0.5, 0.0, 0.0).__getitem__,
    }
    curve = trace(make_answers(outcomes, num_prompts=4), kept_step=20)
    assert [point.step for point in curve.points] == [0, 10, 20]
    assert [point.win_rate.value for point in curve.points] == [0.5, 0.75, 0.375]
    assert [point.reward.value for point in curve.points] == [0.0, 1.0, 2.0]
    assert [point.kl.value for point in curve.points] == [0.0, 1.0, 4.0]
    assert curve.best_step == 10
    assert curve.kept.step == 20
    start, best, last = curve.points
    assert start.change is None
    assert best.change is None
    assert last.change is not None
    assert last.change.reward.value == 1.0
    assert last.change.win_rate.value == -0.375
    assert not curve.apart  # four prompts do not show it

    # Residuals -0.375 + (0, .5, 1, 0): variance 4/3 * 0.6875 / 16; three pairs of checkpoints share the 5 %.
    half = stats.t.ppf(1 - 0.05 / 3 / 2, df=3) * math.sqrt(4 / 3 * 0.6875 / 16)
    assert last.change.win_rate.high == pytest.approx(-0.375 + half)
    assert last.change.win_rate.low == -1.0


def test_step_0_is_even_with_itself_without_doubt() -> None:
    curve = trace(make_answers({0: even, 5: lambda _: 1.0}, num_prompts=6))
    start = curve.points[0].win_rate
    assert (start.low, start.value, start.high) == (0.5, 0.5, 0.5)
    later = curve.points[1].win_rate
    assert later.low is not None
    assert later.low < later.value == 1.0


def test_a_policy_that_games_its_reward_model_is_seen_to_come_apart() -> None:
    """The win rate rises to step 20 and falls from there on; the reward rises all the way."""
    answers = make_answers(
        {
            0: even,
            10: lambda number: float(number % 4 != 0),
            20: lambda number: float(number % 8 != 0),
            30: lambda number: float(number % 2 == 0),
            40: lambda number: float(number % 8 == 0),
        },
        num_prompts=48,
        noise=0.3,
    )
    curve = trace(answers, kept_step=40)
    assert curve.best_step == 20
    assert curve.apart == (30, 40)
    assert [point.change is not None for point in curve.points] == [False, False, False, True, True]
    [told] = tell(curve)
    assert "at these training steps: 30, 40. " in told
    assert "that of step 40" in told


def test_a_step_at_which_the_curve_has_recovered_is_not_told_as_apart() -> None:
    answers = make_answers(
        {
            0: even,
            10: lambda number: float(number % 8 != 0),
            20: lambda number: float(number % 8 == 0),
            30: lambda number: float(number % 8 != 0),
        },
        num_prompts=48,
        noise=0.3,
    )
    curve = trace(answers, kept_step=30)
    assert curve.apart == (20,)
    [told] = tell(curve)
    assert "at these training steps: 20. " in told
    assert "from there on" not in told


def tell(curve: AlongTraining) -> list[str]:
    """The limits of an evaluation that are about a curve along training."""
    metrics = EvaluationMetrics(
        confidence=0.95,
        num_prompts=48,
        num_comparisons=48,
        num_identical=0,
        num_unjudged=0,
        along_training=(curve,),
    )
    return [line for line in list_limits(metrics) if "exploited the reward model" in line]


def test_an_honest_training_is_not_said_to_come_apart() -> None:
    """Neither where both rise, nor where both fall, nor where a fall is within the noise."""
    rising = {step: lambda number, step=step: float(number % 8 < step // 5) for step in (10, 20, 30)}
    assert trace(make_answers({0: even, **rising}, num_prompts=48)).apart == ()
    falling = [
        ScoredAnswer(step=step, prompt_id=f"p{n}", index=0, reward=-step, kl=1.0, outcome=0.5 * (step < 9))
        for step in (0, 5, 9)
        for n in range(48)
    ]
    assert trace(falling).apart == ()
    slight = {10: lambda number: float(number % 2), 20: lambda number: float(number % 2 and number > 1)}
    curve = trace(make_answers({0: even, **slight}, num_prompts=48))
    assert curve.points[-1].change is not None
    assert curve.apart == ()


def test_chance_alone_is_seldom_said_to_come_apart() -> None:
    """Sixty trainings that learn nothing while their reward rises: by 5 % of them at most three would be expected."""
    num_apart = 0
    for number in range(60):
        chance = random.Random(number)  # noqa: S311 (made-up numbers, not secrets)
        outcomes: dict[int, Callable[[int], float]] = {
            step: lambda _: chance.choice([0.0, 0.5, 1.0])  # noqa: B023 (it is asked before the next one is made)
            for step in (10, 20, 30, 40)
        }
        num_apart += bool(trace(make_answers({0: even, **outcomes}, num_prompts=24)).apart)
    assert num_apart <= 3


@pytest.mark.slow
@given(outcomes=st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=2, max_size=8))
def test_exchanging_the_answers_turns_every_win_rate_over(outcomes: list[tuple[float, float]]) -> None:
    def build(turn: Callable[[float], float]) -> AlongTraining:
        return trace(
            make_answers(
                {
                    0: even,
                    10: lambda number: turn(outcomes[number][0]),
                    20: lambda number: turn(outcomes[number][1]),
                },
                num_prompts=len(outcomes),
            )
        )

    one, other = build(lambda value: value), build(lambda value: 1.0 - value)
    for point, turned in zip(one.points, other.points, strict=True):
        assert point.win_rate.value == pytest.approx(1.0 - turned.win_rate.value)
        assert point.win_rate.low == pytest.approx(1.0 - (turned.win_rate.high or 0.0), abs=1e-9)
        assert point.reward == turned.reward


def test_what_the_scorer_leaves_unsaid_is_left_out_everywhere() -> None:
    answers = make_answers(
        {0: even, 10: lambda number: None if number == 1 else 1.0, 20: lambda _: 1.0}, num_prompts=5
    )
    curve = trace(answers)
    assert curve.num_left_out == 1
    assert {point.win_rate.n for point in curve.points} == {4}
    nothing = make_answers({0: even, 10: lambda _: None}, num_prompts=5)
    assert trace_along_training(nothing, scorer="judge", kept_step=10) is None
    alone = make_answers({0: even}, num_prompts=5)
    assert trace_along_training(alone, scorer="judge", kept_step=0) is None
    assert trace_along_training([], scorer="judge", kept_step=0) is None
