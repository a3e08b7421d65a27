"""Stages that make the feedback: responses, verdicts of the judge, and soft preference labels."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from rlaif_dagster.digest import FolderManifest, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.generation.responses import responses_schema
from rlaif_dagster.generation.settings import RecordedSamplingSettings
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.sources import (
    JUDGE_JSON,
    JUDGE_MODEL,
    JUDGE_TEMPLATE,
    JUDGE_VERDICTS,
    PROMPTS_TABLE,
    TABLE_ENGINE,
    read_constitution,
    read_prompts,
)
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.pipeline import NumericsSettings
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.judge import JudgementsResult, collect_judgements, plan_requests
from rlaif_dagster.judging.pairs import Pair, form_pairs
from rlaif_dagster.judging.settings import JudgeSettings, LocalJudgeSettings
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import Verdict, judgements_schema
from rlaif_dagster.preferences import aggregate_verdicts, preferences_schema
from rlaif_dagster.progress import Progress
from rlaif_dagster.tables import Row, read_table, write_table

RESPONSES_TABLE: Final = "responses.parquet"
JUDGEMENTS_TABLE: Final = "judgements.parquet"
PREFERENCES_TABLE: Final = "preferences.parquet"
SUMMARY_JSON: Final = "summary.json"

MODEL_ENGINE: Final = ("torch", "transformers", "tokenizers", "safetensors", *TABLE_ENGINE)
"""What decides the bytes of a table that a model filled."""
MIN_COVERAGE: Final = 0.9
"""Least share of the questions that must have a usable verdict."""


def build_sampled_responses(inputs: ProjectInputs) -> Stage:
    """The stage of the responses: sampled from the base policy, or recorded."""
    settings = inputs.pipeline.sampling
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    recorded = inputs.responses

    def sample(context: StageContext) -> StageResult:
        from rlaif_dagster.generation.sampling import sample_responses
        from rlaif_dagster.numerics import prepare_torch

        if isinstance(settings, RecordedSamplingSettings):
            raise TypeError("recorded responses are imported, not sampled")
        known = {
            row["response_id"]: row
            for folder in context.earlier_versions()
            for row in read_table(folder / RESPONSES_TABLE)
        }
        result = sample_responses(
            context.inputs["base_policy"],
            [{"prompt_id": p.prompt_id, "prompt": p.prompt} for p in read_prompts(context.inputs["prompts"])],
            settings,
            root_seed=seed,
            policy_digest=str(context.digests["base_policy"]),
            device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
            batch_size=inputs.pipeline.execution.sampling_batch_size,
            known=known,
            progress=context.progress,
        )
        rows = write_responses(context.output, result.rows)
        return StageResult(
            rows=rows, counts={"num_sampled": result.num_sampled, "num_reused": result.num_reused}
        )

    def import_recorded(context: StageContext) -> StageResult:
        from rlaif_dagster.generation.recorded import import_responses

        if recorded is None:
            raise TypeError("there is no file of recorded responses")
        prompts = [{"prompt_id": p.prompt_id} for p in read_prompts(context.inputs["prompts"])]
        result = import_responses(recorded.path, prompts)
        recorded.require_unchanged()
        rows = write_responses(context.output, result.rows)
        return StageResult(rows=rows, counts={"num_sources": len(result.num_by_source)})

    return Stage(
        name="sampled_responses",
        description="Several responses to every prompt.",
        kinds=("parquet", "pytorch") if recorded is None else ("parquet",),
        code_version="1",
        inputs=("prompts", "base_policy") if recorded is None else ("prompts",),
        settings={
            "sampling": settings.model_dump(mode="json"),
            "seed": seed,
        }
        if recorded is None
        else {"responses": str(recorded.digest)},
        engine=MODEL_ENGINE if recorded is None else TABLE_ENGINE,
        compute=sample if recorded is None else import_recorded,
        numerics=numerics if recorded is None else None,
        checks=(
            check_schema(RESPONSES_TABLE, responses_schema, key=("response_id",)),
            Check(
                name="every_prompt_answered",
                description="Every prompt has at least one response, and no response is empty.",
                blocking=False,
                run=_check_answered,
            ),
        ),
    )


def write_responses(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes a table of responses; returns the number of rows."""
    return write_table(folder / RESPONSES_TABLE, rows, responses_schema())


def build_judgements(inputs: ProjectInputs) -> Stage:
    """The stage of the verdicts."""
    verdicts = inputs.verdicts
    pairing = inputs.pipeline.pairing
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed

    def ask(context: StageContext) -> StageResult:
        responses = read_table(context.inputs["sampled_responses"] / RESPONSES_TABLE)
        pairs = form_pairs(responses, pairing, seed)
        result = judge_pairs(
            pairs.pairs,
            judge_folder=context.inputs["judge"],
            constitution=read_constitution(context.inputs["constitution"]),
            prompts={p.prompt_id: p.prompt for p in read_prompts(context.inputs["prompts"])},
            texts={row["response_id"]: row["text"] for row in responses},
            numerics=numerics,
            known=_read_known_verdicts(context),
            batch_size=inputs.pipeline.execution.judging_batch_size,
            progress=context.progress,
        )
        rows = write_judgements(context.output, result.verdicts)
        return StageResult(
            rows=rows,
            counts={
                "num_pairs": len(pairs.pairs),
                "num_identical_responses": pairs.num_identical,
                "num_prompts_without_pair": pairs.num_single,
                "num_pairs_over_cap": pairs.num_capped,
                "judge_calls_asked": result.num_asked,
                "judge_calls_reused": result.num_reused,
                **{f"num_{status}": count for status, count in result.by_status.items()},
            },
        )

    def take_recorded(context: StageContext) -> StageResult:
        from rlaif_dagster.judging.recorded import read_recorded_verdicts

        constitution = read_constitution(context.inputs["constitution"])
        settings = read_judge_settings(context.inputs["judge"])
        try:
            result = read_recorded_verdicts(
                context.inputs["judge"] / JUDGE_VERDICTS,
                read_table(context.inputs["sampled_responses"] / RESPONSES_TABLE),
                name=None if isinstance(settings, LocalJudgeSettings) else settings.name,
                principle_ids=[principle.id for principle in constitution.principles],
            )
        except InputError as error:
            # The judge's version holds a copy of the person's file, line for line: name the file that can be mended.
            raise InputError(
                error.problem,
                file=verdicts.path if verdicts else error.file,
                line=error.line,
                field=error.field,
                remedy=error.remedy,
            ) from error
        rows = write_judgements(context.output, result.verdicts)
        return StageResult(
            rows=rows,
            counts={
                "num_pairs": len(result.pairs),
                "num_missing": result.num_missing,
                "num_other_judges": result.num_other_judges,
                **{f"num_{status}": count for status, count in result.by_status.items()},
            },
        )

    return Stage(
        name="judgements",
        description="The judge's verdict on every pair of responses, in both orders.",
        kinds=("parquet",) if verdicts else ("parquet", "pytorch"),
        code_version="1",
        inputs=("prompts", "constitution", "judge", "sampled_responses"),
        settings={}
        if verdicts
        else {
            "pairing": pairing.model_dump(mode="json"),
            "seed": seed,
        },
        engine=TABLE_ENGINE if verdicts else MODEL_ENGINE,
        compute=take_recorded if verdicts else ask,
        numerics=None if verdicts else numerics,
        checks=(
            check_schema(
                JUDGEMENTS_TABLE, judgements_schema, key=("pair_id", "principle_id", "order", "judge")
            ),
            Check(
                name="coverage",
                description=f"At least {MIN_COVERAGE:.0%} of the questions have a usable verdict.",
                blocking=True,
                run=_check_coverage,
            ),
        ),
    )


def write_judgements(folder: Path, verdicts: Iterable[Verdict]) -> int:
    """Writes a table of verdicts; returns the number of rows."""
    rows = (verdict.to_row() for verdict in verdicts)
    return write_table(folder / JUDGEMENTS_TABLE, rows, judgements_schema())


def judge_pairs(
    pairs: Sequence[Pair],
    *,
    judge_folder: Path,
    constitution: Constitution,
    prompts: Mapping[str, str],
    texts: Mapping[str, str],
    numerics: NumericsSettings,
    known: Mapping[str, Verdict],
    batch_size: int,
    progress: Progress,
) -> JudgementsResult:
    """Asks a version of the `judge` asset about pairs, in both orders.

    Args:
        pairs: The pairs.
        judge_folder: A version of the `judge` asset, of a judge that can be asked.
        constitution: The principles.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.
        numerics: How the judge computes.
        known: Verdicts that need not be asked again, by verdict key.
        batch_size: Most questions asked at once.
        progress: Told how far the judge is.

    Raises:
        JudgeError: If the judge cannot answer at all.
    """
    from rlaif_dagster.judging.local import LocalJudge
    from rlaif_dagster.numerics import prepare_torch

    settings = read_judge_settings(judge_folder)
    if not isinstance(settings, LocalJudgeSettings):
        raise TypeError("a recorded judge cannot be asked")
    template = Template.from_json(json.loads((judge_folder / JUDGE_TEMPLATE).read_bytes()))
    judge = LocalJudge(
        settings,
        template,
        folder=judge_folder / JUDGE_MODEL,
        model_digest=FolderManifest.from_folder(judge_folder / JUDGE_MODEL).digest,
        device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
        batch_size=batch_size,
    )
    requests = plan_requests(
        pairs,
        constitution,
        template,
        settings.protocol,
        judge_fingerprint=judge.fingerprint,
        prompts=prompts,
        texts=texts,
    )
    return collect_judgements(requests, judge, known, progress=progress)


def read_judge_settings(folder: Path) -> JudgeSettings:
    """Reads the settings in a version of the `judge` asset."""
    adapter: TypeAdapter[JudgeSettings] = TypeAdapter(JudgeSettings)
    return adapter.validate_json((folder / JUDGE_JSON).read_bytes())


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


def _read_known_verdicts(context: StageContext) -> dict[str, Verdict]:
    known: dict[str, Verdict] = {}
    for folder in context.earlier_versions():
        for row in read_table(folder / JUDGEMENTS_TABLE):
            if row["status"] == "ok":
                known.setdefault(row["verdict_id"], Verdict.from_row(row))
    return known


def _check_answered(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    prompts = {p.prompt_id for p in read_prompts(inputs["prompts"])}
    rows = read_table(output / RESPONSES_TABLE)
    unanswered = prompts - {row["prompt_id"] for row in rows}
    num_empty = sum(not row["text"].strip() for row in rows)
    return CheckResult(
        passed=not unanswered and not num_empty,
        facts={"num_unanswered": len(unanswered), "num_empty": num_empty},
    )


def _check_coverage(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    rows = read_table(output / JUDGEMENTS_TABLE)
    num_ok = sum(row["status"] == "ok" for row in rows)
    coverage = num_ok / len(rows) if rows else 0.0
    return CheckResult(
        passed=coverage >= MIN_COVERAGE,
        facts={"coverage": coverage, "num_ok": num_ok, "num_asked": len(rows), "required": MIN_COVERAGE},
    )


def _check_splits(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    counts = {split: len(read_preferences(output, split)) for split in ("train", "eval")}
    return CheckResult(passed=all(counts.values()), facts=counts)
