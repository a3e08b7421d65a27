"""Measures a reward model on held-out pairs: accuracy, calibration, and how much answer length explains.

Every figure uses pairs with a decided label (no near tie), and its interval is clustered by prompt.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.stats.intervals import Estimate, clustered_mean, clustered_proportion
from rlaif_dagster.tables import Row

CHANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedPair:
    """The facts about a pair with a decided label.

    Attributes:
        prompt_id: Its prompt.
        label: P(the preferred answer is better), above one half.
        chosen_characters: Length of the preferred answer.
        rejected_characters: Length of the other one.
    """

    prompt_id: str
    label: float
    chosen_characters: int
    rejected_characters: int


def require_decided(rows: Iterable[Row]) -> list[DecidedPair]:
    """Collects the pairs with a decided label from rows of `ai_preferences`.

    Raises:
        TrainingError: If there is none, so that accuracy cannot be measured.
    """
    decided = [
        DecidedPair(
            prompt_id=row["prompt_id"],
            label=max(row["p_a"], 1 - row["p_a"]),
            chosen_characters=len(row["chosen"]),
            rejected_characters=len(row["rejected"]),
        )
        for row in rows
        if not row["near_tie"] and row["p_a"] != CHANCE
    ]
    if not decided:
        raise TrainingError(
            "reward_model: every held-out pair is a near tie, so the accuracy cannot be measured.\n"
            "  remedy: add prompts, raise prompts.eval_fraction, or lower preferences.near_tie_margin"
        )
    return decided


def measure_reward_accuracy(decided: Sequence[DecidedPair], margins: Sequence[float]) -> dict[str, JsonValue]:
    """Measures held-out accuracy, and that of the rule "the longer answer is better".

    Args:
        decided: Held-out pairs.
        margins: reward(preferred) - reward(other) of each, in order.
    """
    clusters = [pair.prompt_id for pair in decided]
    return {
        "accuracy": asdict(clustered_proportion(_share_won(margins), clusters)),
        "longer_wins_accuracy": asdict(clustered_proportion(_share_won(_excess_lengths(decided)), clusters)),
    }


def measure_quality(decided: Sequence[DecidedPair], margins: Sequence[float]) -> dict[str, JsonValue]:
    """Measures calibration and the effect of length; arguments as in `measure_reward_accuracy`.

    `ece` and `brier` compare sigmoid(score difference) with the label's answer. `temperature` is the divisor of the
    scores that fits the soft labels best (above 1: too sure). Lengths are in characters.
    """
    from rlaif_dagster.judge_quality.calibration import SoftLabel, measure_calibration

    labels = [
        # As if a were always the preferred answer: calibration treats both sides equally.
        SoftLabel(cluster=pair.prompt_id, p_a=(1 + math.tanh(margin / 2)) / 2, ground_truth_a=True)
        for pair, margin in zip(decided, margins, strict=True)
    ]
    accuracy = statistics.fmean(_share_won(margins))
    balanced = balance_lengths(decided, margins)
    return {
        **{name: figure.to_json() for name, figure in measure_calibration(labels).items()},
        "temperature": fit_temperature(margins, [pair.label for pair in decided]),
        "chosen_characters": statistics.fmean(pair.chosen_characters for pair in decided),
        "rejected_characters": statistics.fmean(pair.rejected_characters for pair in decided),
        "length_balanced_accuracy": None if balanced is None else asdict(balanced),
        "explained_by_length": None if balanced is None else explain_by_length(accuracy, balanced.value),
    }


def balance_lengths(decided: Sequence[DecidedPair], margins: Sequence[float]) -> Estimate | None:
    """Estimates accuracy if the preferred answer were the longer one in half of the pairs; None if one kind is missing.

    It is the mean of the accuracies of both kinds of pair. A model that uses only length, in either direction, has one
    half. The interval is that of the linearised mean, with the number of pairs of each kind taken as fixed.
    """
    won, excess = _share_won(margins), _excess_lengths(decided)
    kinds = [
        [place for place, length in enumerate(excess) if (length > 0) is longer and length != 0]
        for longer in (True, False)
    ]
    if not all(kinds):
        return None
    means = [statistics.fmean(won[place] for place in kind) for kind in kinds]
    num_pairs = sum(map(len, kinds))
    values, clusters = [], []
    for kind, mean in zip(kinds, means, strict=True):
        for place in kind:
            values.append(statistics.fmean(means) + (won[place] - mean) * num_pairs / (2 * len(kind)))
            clusters.append(decided[place].prompt_id)
    return clustered_mean(values, clusters)


def explain_by_length(accuracy: float, balanced: float) -> float | None:
    """Computes the share of the accuracy above chance that balancing lengths removes; None at or below chance."""
    return None if accuracy <= CHANCE else 1 - (balanced - CHANCE) / (accuracy - CHANCE)


def fit_temperature(margins: Sequence[float], labels: Sequence[float]) -> float:
    """Fits the T that minimises the cross-entropy of sigmoid(margin / T) against soft labels.

    Guo et al. 2017, section 4.2, with soft labels; between e^-4 and e^4.

    Args:
        margins: reward(preferred) - reward(other).
        labels: P(preferred) of each, in [0.5, 1].
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    logits, p = np.asarray(margins), np.asarray(labels)

    def mean_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - p * scaled))

    return float(np.exp(minimize_scalar(mean_loss, bounds=(-4.0, 4.0), method="bounded").x))


def _share_won(differences: Sequence[float]) -> list[float]:
    return [1.0 if d > 0 else CHANCE if d == 0 else 0.0 for d in differences]


def _excess_lengths(decided: Sequence[DecidedPair]) -> list[int]:
    return [pair.chosen_characters - pair.rejected_characters for pair in decided]
