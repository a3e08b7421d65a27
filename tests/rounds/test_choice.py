"""The best round is the earliest that cannot be told from the best."""

import pytest

from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.rounds.choice import choose_round
from rlaif_dagster.stats.intervals import clustered_proportion


def win(num_won: int, num_prompts: int) -> list[Comparison]:
    """Comparisons of which so many are won, and all others lost."""
    return [
        Comparison(
            prompt_id=str(number),
            prompt="?",
            base_text="a",
            aligned_text="b",
            p_judge=0.9 if number < num_won else 0.1,
        )
        for number in range(num_prompts)
    ]


@pytest.mark.parametrize(
    ("num_won", "chosen"),
    [
        # SE of 90 of 100 is sqrt(0.9 * 0.1 / 99) = 0.0302: what won 87 is within one, what won 86 is not.
        ((60, 86, 90), 3),
        ((60, 87, 90), 2),
        ((90, 88, 70), 1),
        ((70, 90, 90), 2),
        ((80, 90, 80), 2),
    ],
)
def test_the_earliest_round_within_one_standard_error_of_the_best(
    num_won: tuple[int, int, int], chosen: int
) -> None:
    choice = choose_round(
        {number: win(won, 100) for number, won in enumerate(num_won, start=1)}, confidence=0.95
    )
    assert choice is not None
    assert choice.round == chosen
    is_best = num_won[chosen - 1] == max(num_won)
    assert choice.reason.startswith(f"round {chosen} has the {'best win rate' if is_best else 'win rate'}")
    assert choice.win_rates[1].value == num_won[0] / 100


@pytest.mark.parametrize(
    ("num_prompts", "num_won"),
    [
        (5, (3, 4)),  # 4/5, standard error sqrt(4/5 * 1/5 / 4) = 1/5
        (15, (5, 7)),  # 7/15, sqrt(7/15 * 8/15 / 14) = 2/15
        (99, (45, 50)),  # 50/99, sqrt(50/99 * 49/99 / 98) = 5/99
        (10, (8, 9)),  # 9/10, sqrt(9/10 * 1/10 / 9) = 1/10
    ],
)
def test_exactly_one_standard_error_from_the_best_is_within_it(
    num_prompts: int, num_won: tuple[int, int]
) -> None:
    rounds = {number: win(won, num_prompts) for number, won in enumerate(num_won, start=1)}
    choice = choose_round(rounds, confidence=0.95)
    assert choice is not None
    assert choice.round == 1


def test_where_one_prompt_leaves_no_standard_error_only_what_is_as_good_is_within_it() -> None:
    choice = choose_round({1: win(0, 1), 2: win(1, 1), 3: win(1, 1)}, confidence=0.95)
    assert choice is not None
    assert choice.round == 2


def test_win_rates_have_intervals_of_the_confidence_that_is_asked_for() -> None:
    wins, prompts = [1.0] * 6 + [0.0] * 4, list(range(10))
    for confidence in (0.5, 0.95):
        choice = choose_round({1: win(6, 10)}, confidence=confidence)
        assert choice is not None
        assert choice.win_rates == {1: clustered_proportion(wins, prompts, confidence=confidence)}


def test_rounds_that_were_not_judged_are_no_choice() -> None:
    assert choose_round({1: []}, confidence=0.95) is None
    choice = choose_round({1: [], 2: win(3, 10)}, confidence=0.95)
    assert choice is not None
    assert choice.round == 2
