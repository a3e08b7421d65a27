"""The stage of the soft labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.judging import JUDGEMENTS_TABLE
from rlaif_dagster.graph.responses import RESPONSES_TABLE
from rlaif_dagster.graph.sources import PROMPTS_TABLE, TABLE_ENGINE, read_constitution
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.preferences import aggregate_verdicts, preferences_schema
from rlaif_dagster.tables import Row, read_table, write_table

PREFERENCES_TABLE: Final = "preferences.parquet"
SUMMARY_JSON: Final = "summary.json"


def build_ai_preferences(inputs: ProjectInputs) -> Stage:
    """The stage of the soft labels."""
    settings = inputs.pipeline.preferences

    def compute(context: StageContext) -> StageResult:
        rows = read_table(context.inputs["judgements"] / JUDGEMENTS_TABLE)
        result = aggregate_verdicts(
            map(Verdict.from_row, rows),
            constitution=read_constitution(context.inputs["constitution"]),
            prompts=read_table(context.inputs["prompts"] / PROMPTS_TABLE),
            responses=read_table(context.inputs["sampled_responses"] / RESPONSES_TABLE),
            settings=settings,
        )
        num_rows = write_table(context.output / PREFERENCES_TABLE, result.rows, preferences_schema())
        counts = {
            "num_pairs": result.num_pairs,
            "num_consistent": result.consistent,
            "num_first_first": result.first_first,
            "num_second_second": result.second_second,
            "num_tie_mixed": result.tie_mixed,
            "num_near_ties": sum(row["near_tie"] for row in result.rows),
            **{f"num_dropped_{reason}": count for reason, count in sorted(result.dropped.items())},
        }
        (context.output / SUMMARY_JSON).write_bytes(canonical_json(counts))
        return StageResult(
            rows=num_rows,
            counts=counts,
            metrics={"consistency": result.consistent / result.num_pairs if result.num_pairs else None},
        )

    return Stage(
        name="ai_preferences",
        description="One soft label for each pair: P(a preferred), over both orders and all principles.",
        kinds=("parquet",),
        code_version="1",
        inputs=("prompts", "constitution", "sampled_responses", "judgements"),
        settings=settings.model_dump(mode="json"),
        engine=TABLE_ENGINE,
        compute=compute,
        checks=(
            check_schema(PREFERENCES_TABLE, preferences_schema, key=("pair_id",)),
            Check(
                name="labels_in_both_splits",
                description="There are labelled pairs to train on and held-out pairs to measure on.",
                blocking=True,
                run=_check_splits,
            ),
        ),
    )


def read_preferences(folder: Path, split: str) -> list[Row]:
    """Reads the rows of one split from a version of the `ai_preferences` asset."""
    return [row for row in read_table(folder / PREFERENCES_TABLE) if row["split"] == split]


def _check_splits(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    counts = {split: len(read_preferences(output, split)) for split in ("train", "eval")}
    return CheckResult(passed=all(counts.values()), facts=counts)
