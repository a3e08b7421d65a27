"""Decides whether an answer is better than another: 1, 0.5 or 0, or None if undecided."""

from collections.abc import Mapping

from rlaif_dagster.evaluation.comparison import EVEN, decide
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.tables import Row


def decide_by_ground_truth(constitution: Constitution, prompt: str, text: str, other: str) -> float | None:
    """Compares two answers by the embedded world's ground truth."""
    from rlaif_dagster.world.ground_truth import ground_truth_preference

    if text == other:
        return EVEN
    principles = [(principle.text, principle.weight) for principle in constitution.principles]
    return ground_truth_preference(principles, prompt, text, other)


def decide_by_judge(by_pair: Mapping[str, Row], pair: Pair | None, response_id: str) -> float | None:
    """Compares an answer with the other answer of its pair, by a judge.

    Args:
        by_pair: Preference rows by pair id.
        pair: The pair; None for two equal answers, for which no judge is asked.
        response_id: The answer.
    """
    if pair is None:
        return EVEN
    row = by_pair.get(pair.pair_id)
    if row is None:
        return None
    return decide(row["p_a"] if row["response_a"] == response_id else 1.0 - row["p_a"])
