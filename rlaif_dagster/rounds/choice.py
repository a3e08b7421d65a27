"""Chooses the round with the best policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.rounds.plateau import find_referee
from rlaif_dagster.stats.intervals import Estimate, clustered_proportion, exceeds, standard_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen round.

    Attributes:
        round: Its number.
        reason: Why it was chosen, for people.
        win_rates: The win rate against the base policy of each round that could be chosen.
    """

    round: int
    reason: str
    win_rates: Mapping[int, Estimate]


def choose_round(rounds: Mapping[int, Sequence[Comparison]], *, confidence: float) -> Choice | None:
    """Chooses the earliest round whose win rate is within one standard error of the best.

    The one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3): what
    cannot be distinguished from the best is as good, and an earlier policy has moved less from the base policy.

    Args:
        rounds: The comparisons of each round's policy with the base policy, by round.
        confidence: The confidence of the win rates' intervals.

    Returns:
        The choice; None if no round was judged.
    """
    source = find_referee(row for rows in rounds.values() for row in rows)
    judged = {
        number: [
            (outcome, row.prompt_id) for row in rows if (outcome := row.find_outcome(source)) is not None
        ]
        for number, rows in rounds.items()
    }
    judged = {number: rows for number, rows in judged.items() if rows}
    if not judged:
        return None
    win_rates, errors = {}, {}
    for number, rows in sorted(judged.items()):
        values, clusters = [value for value, _ in rows], [prompt_id for _, prompt_id in rows]
        win_rates[number] = clustered_proportion(values, clusters, confidence=confidence)
        errors[number] = standard_error(values, clusters) or 0.0
    best = max(win_rates, key=lambda number: (win_rates[number].value, -number))
    least = win_rates[best].value - errors[best]
    chosen = next(number for number, rate in win_rates.items() if not exceeds(least, rate.value))
    reason = f"round {chosen} has the best win rate, {win_rates[chosen].value:.3f}"
    if chosen != best:
        reason = (
            f"round {chosen} has the win rate {win_rates[chosen].value:.3f}, within one standard error "
            f"({errors[best]:.3f}) of the best, {win_rates[best].value:.3f} of round {best}"
        )
    return Choice(round=chosen, reason=reason, win_rates=win_rates)
