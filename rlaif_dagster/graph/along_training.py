"""Compares answers at training checkpoints with those of step 0, by the ground truth or a judge."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlaif_dagster.evaluation.along_training import AlongTraining, ScoredAnswer, trace_along_training
from rlaif_dagster.evaluation.comparison import Source
from rlaif_dagster.graph.held_out import EvaluationSpec, HeldOutVerdicts, pair_answers
from rlaif_dagster.graph.learning import read_training
from rlaif_dagster.graph.outcomes import decide_by_ground_truth, decide_by_judge
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.names import CHECKPOINTS_TABLE
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row, has_columns, stream_table
from rlaif_dagster.training.results import checkpoints_schema

_COLUMNS: Final = ("step", "prompt_id", "index", "response_id", "text", "reward", "kl")
_LATER_COLUMNS: Final = ("finish_reason",)
"""The columns that a version of 0.1.0 lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAnswers:
    """The rows of an aligned policy's `CHECKPOINTS_TABLE`, and which checkpoint became that policy.

    Attributes:
        rows: The rows.
        kept_step: The checkpoint.
        prompts: Prompt text by prompt id; answers to prompts that were removed since the training are not compared.
    """

    rows: tuple[Row, ...]
    kept_step: int
    prompts: Mapping[str, str]

    @classmethod
    def read(cls, policy: Path, prompts: Iterable[Prompt]) -> "CheckpointAnswers | None":
        """Reads them from a version of `aligned_policy`; None if code before 0.1.0 made it, without them."""
        schema = checkpoints_schema()
        if not has_columns(policy / CHECKPOINTS_TABLE, schema, _COLUMNS):
            return None
        (kept_step,) = (c["step"] for c in read_training(policy)["checkpoints"] if c["selected"])
        return cls(
            rows=tuple(
                stream_table(policy / CHECKPOINTS_TABLE, (*_COLUMNS, *_LATER_COLUMNS), later=_LATER_COLUMNS)
            ),
            kept_step=kept_step,
            prompts={prompt.prompt_id: prompt.prompt for prompt in prompts},
        )

    def compare(self) -> Iterator[tuple[Row, Row]]:
        """Yields each answer with the answer of step 0 to the same prompt at the same index."""
        start = {(row["prompt_id"], row["index"]): row for row in self.rows if row["step"] == 0}
        for row in self.rows:
            yield row, start[row["prompt_id"], row["index"]]

    def list_pairs(self) -> list[Pair]:
        """Lists the pairs of different texts, each once, for known prompts."""
        pairs = (pair_answers(*both) for both in self.compare())
        return list(dict.fromkeys(pair for pair in pairs if pair and pair.prompt_id in self.prompts))


def trace_checkpoints(
    answers: CheckpointAnswers,
    constitution: Constitution,
    judges: Mapping[Source, HeldOutVerdicts],
    spec: EvaluationSpec,
) -> tuple[AlongTraining, ...]:
    """Traces the curve along training by the ground truth, if there is one, and by the judge that was asked.

    Args:
        answers: The answers at checkpoints.
        constitution: The constitution that they are judged by.
        judges: The judges' verdicts.
        spec: How the policies are measured.
    """
    ground_truth: Source | None = "ground_truth" if spec.evaluation.ground_truth else None
    scorers = [scorer for scorer in (ground_truth, spec.checkpoint_judge) if scorer is not None]

    def decide(scorer: Source, answer: Row, other: Row) -> float | None:
        prompt = answers.prompts.get(answer["prompt_id"])
        if prompt is None:
            return None
        if scorer == "ground_truth":
            return decide_by_ground_truth(constitution, prompt, answer["text"], other["text"])
        return decide_by_judge(judges[scorer].by_pair, pair_answers(answer, other), answer["response_id"])

    curves = (
        trace_along_training(
            [
                ScoredAnswer(
                    step=answer["step"],
                    prompt_id=answer["prompt_id"],
                    index=answer["index"],
                    reward=answer["reward"],
                    kl=answer["kl"],
                    outcome=decide(scorer, answer, other),
                )
                for answer, other in answers.compare()
            ],
            scorer=scorer,
            kept_step=answers.kept_step,
            confidence=spec.evaluation.confidence,
        )
        for scorer in scorers
    )
    return tuple(curve for curve in curves if curve is not None)
