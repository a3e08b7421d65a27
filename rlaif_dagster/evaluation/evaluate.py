"""Writes an evaluation: figures, rows and report. Imports pyarrow, so import this module lazily."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.errors import StorageError
from rlaif_dagster.evaluation.along_training import AlongTraining
from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.facts import RunFacts, TrainingCurves
from rlaif_dagster.evaluation.over_optimisation import OverOptimisation
from rlaif_dagster.evaluation.report import render_report
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics, summarise
from rlaif_dagster.former_names import update_fields
from rlaif_dagster.names import COMPARISONS_TABLE, METRICS_JSON, REPORT_HTML
from rlaif_dagster.stats.intervals import Estimate
from rlaif_dagster.tables import read_table, write_table

COMPARISONS_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("base_text", pa.string(), nullable=False),
        pa.field("aligned_text", pa.string(), nullable=False),
        pa.field("p_judge", pa.float64()),
        pa.field("p_judge_ab", pa.float64()),
        pa.field("p_judge_ba", pa.float64()),
        pa.field("p_independent", pa.float64()),
        pa.field("p_independent_ab", pa.float64()),
        pa.field("p_independent_ba", pa.float64()),
        pa.field("ground_truth", pa.float64()),
        pa.field(
            "principles",
            pa.list_(
                pa.struct(
                    [
                        pa.field("principle_id", pa.string(), nullable=False),
                        pa.field("p_judge", pa.float64()),
                        pa.field("p_independent", pa.float64()),
                        pa.field("ground_truth", pa.float64()),
                    ]
                )
            ),
            nullable=False,
        ),
        pa.field("base_reward", pa.float64()),
        pa.field("aligned_reward", pa.float64()),
        pa.field("base_tokens", pa.int64()),
        pa.field("aligned_tokens", pa.int64()),
        pa.field("base_finish_reason", pa.string()),
        pa.field("aligned_finish_reason", pa.string()),
        pa.field("base_clean", pa.bool_()),
        pa.field("aligned_clean", pa.bool_()),
    ]
)
"""One row per `Comparison`, whose docstring defines each column. Sorted by (prompt_id, index)."""


def write_evaluation(
    output_folder: Path,
    *,
    comparisons: Iterable[Comparison],
    settings: EvaluationSettings,
    facts: RunFacts,
    curves: TrainingCurves,
    kl: Estimate | None = None,
    reward_model_accuracy: Estimate | None = None,
    longer_wins_accuracy: Estimate | None = None,
    over_optimisation: OverOptimisation | None = None,
    along_training: tuple[AlongTraining, ...] = (),
) -> EvaluationMetrics:
    """Summarises comparisons and writes `metrics.json`, `comparisons.parquet` and `report.html`.

    Args:
        output_folder: An empty folder that exists.
        comparisons: Held-out comparisons, judged or not, in any order.
        settings: Confidence, unsafe categories and number of examples are used here; sampling was done before.
        facts: What was compared and how it was made, for the report.
        curves: Training curves, for the report.
        kl: KL divergence of the aligned from the base policy in nats per answer, if it was measured.
        reward_model_accuracy: On held-out preference pairs, if it was measured.
        longer_wins_accuracy: The accuracy of the "longer answer" rule on the same pairs.
        over_optimisation: The curve of best-of-n, if it was traced.
        along_training: The quality of the answers at training checkpoints, by each source.

    Raises:
        StorageError: If a file cannot be written.
        ValueError: If two comparisons have the same prompt and index.
    """
    rows = sorted(comparisons, key=lambda row: (row.prompt_id, row.index))
    _require_unique(rows)
    metrics = summarise(
        rows,
        confidence=settings.confidence,
        kl=kl,
        reward_model_accuracy=reward_model_accuracy,
        longer_wins_accuracy=longer_wins_accuracy,
        over_optimisation=over_optimisation,
        along_training=along_training,
        unsafe_categories=settings.unsafe_categories,
    )
    report = render_report(rows, metrics, facts=facts, curves=curves, num_examples=settings.num_examples)
    write_table(output_folder / COMPARISONS_TABLE, (asdict(row) for row in rows), COMPARISONS_SCHEMA)
    _write_bytes(output_folder / METRICS_JSON, canonical_json(metrics.to_json()))
    _write_bytes(output_folder / REPORT_HTML, report.encode())
    return metrics


def read_comparisons(path: Path) -> list[Comparison]:
    """Reads `comparisons.parquet` back; values that earlier code did not write are None.

    Raises:
        StorageError: If the file is missing, is not parquet, or does not contain comparisons.
    """
    names = {field.name for field in fields(Comparison)}
    rows = [update_fields(row) for row in read_table(path)]
    try:
        return [
            Comparison(
                **{name: row[name] for name in names & row.keys() - {"principles"}},
                principles=tuple(PrincipleOutcome(**update_fields(outcome)) for outcome in row["principles"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path}: not a table of comparisons: {error!r}\n  remedy: run `rlaif run evaluation` again"
        ) from error


def _require_unique(rows: Sequence[Comparison]) -> None:
    seen: set[tuple[str, int]] = set()
    for row in rows:
        key = (row.prompt_id, row.index)
        if key in seen:
            raise ValueError(
                f"prompt {row.prompt_id} has two comparisons with index {row.index}: "
                "each sample of a prompt is compared once"
            )
        seen.add(key)


def _write_bytes(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error}\n  remedy: free disk space or correct the permissions"
        ) from error
