"""The stage of the responses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rlaif_dagster.generation.responses import measure_share_cut, responses_schema
from rlaif_dagster.generation.settings import LocalSamplingSettings, RecordedSamplingSettings
from rlaif_dagster.graph.checks import check_cut, check_schema
from rlaif_dagster.graph.rounds import FIRST_RESPONSES
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_prompts
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row, StoredRows, read_table, stream_table, write_table

if TYPE_CHECKING:
    from rlaif_dagster.generation.sampling import SamplingResult

RESPONSES_TABLE: Final = "responses.parquet"

MODEL_ENGINE: Final = ("torch", "transformers", "tokenizers", "safetensors", *TABLE_ENGINE)
"""What decides the bytes of a table that a model filled."""


def build_sampled_responses(inputs: ProjectInputs) -> Stage:
    """The stage of the responses: sampled from the base policy, or recorded."""
    settings = inputs.pipeline.sampling
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    recorded = inputs.responses
    policy = inputs.first_policy

    def sample(context: StageContext) -> StageResult:
        if isinstance(settings, RecordedSamplingSettings):
            raise TypeError("recorded responses are imported, not sampled")
        with open_sampler(context, inputs) as sample_policy:
            result = sample_policy(policy, read_prompts(context.inputs["prompts"]), settings)
        rows = write_responses(context.output, result.rows)
        return StageResult(
            rows=rows,
            counts={"num_sampled": result.num_sampled, "num_reused": result.num_reused},
            metrics={"share_cut": measure_share_cut(result.rows)},
        )

    def import_recorded(context: StageContext) -> StageResult:
        from rlaif_dagster.generation.recorded import import_responses

        if recorded is None:
            raise TypeError("there is no file of recorded responses")
        prompts = [{"prompt_id": p.prompt_id} for p in read_prompts(context.inputs["prompts"])]
        result = import_responses(recorded.path, prompts)
        recorded.require_unchanged()
        rows = write_responses(context.output, result.rows)
        return StageResult(
            rows=rows,
            counts={"num_sources": len(result.num_by_source)},
            metrics={"share_cut": measure_share_cut(result.rows)},
        )

    return Stage(
        name="sampled_responses",
        description="Several responses to every prompt.",
        kinds=("parquet", "pytorch") if recorded is None else ("parquet",),
        code_version="1",
        inputs=("prompts", policy) if recorded is None else ("prompts",),
        settings={
            "sampling": settings.model_dump(mode="json"),
            "seed": seed,
        }
        if recorded is None
        else {"responses": str(recorded.digest)},
        engine=MODEL_ENGINE if recorded is None else TABLE_ENGINE,
        compute=sample if recorded is None else import_recorded,
        numerics=numerics if recorded is None else None,
        origins={"": f"{PIPELINE_FILE}:", "responses": f"{PIPELINE_FILE}: sampling.responses"},
        cheap=recorded is not None,
        checks=(
            check_schema(RESPONSES_TABLE, responses_schema, key=("response_id",)),
            Check(
                name="every_prompt_answered",
                description="Every prompt has at least one response, and no response is empty.",
                blocking=False,
                run=_check_answered,
            ),
            check_cut("sampling.max_new_tokens" if recorded is None else None, _read_share_cut),
        ),
    )


class Sampler(Protocol):
    """Samples responses of the input that is a policy; those that are known are taken over.

    Raises:
        ModelError: If the policy cannot be opened or served, or has too short a context for a prompt.
    """

    def __call__(
        self, policy: str, prompts: Iterable[Prompt], settings: LocalSamplingSettings
    ) -> "SamplingResult":
        """Samples `settings.num_samples` responses to each prompt."""


@contextmanager
def open_sampler(context: StageContext, inputs: ProjectInputs) -> Iterator[Sampler]:
    """Opens the stage's journal of responses, to sample any number of policies.

    Known are the responses of the stage's earlier versions (their `RESPONSES_TABLE`), those that killed runs left, and
    those sampled here before.

    Raises:
        StorageError: If the journal cannot be read or written.
    """
    from rlaif_dagster.generation.journal import open_responses
    from rlaif_dagster.generation.sampling import sample_responses
    from rlaif_dagster.numerics import prepare_torch

    numerics = inputs.pipeline.numerics
    with open_responses(context.journal, lambda: _read_known_responses(context)) as (known, keep):

        def sample(
            policy: str, prompts: Iterable[Prompt], settings: LocalSamplingSettings
        ) -> "SamplingResult":
            return sample_responses(
                context.inputs[policy],
                [{"prompt_id": p.prompt_id, "prompt": p.prompt} for p in prompts],
                settings,
                root_seed=inputs.pipeline.seed,
                policy_digest=str(context.digests[policy]),
                device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
                batch_size=inputs.pipeline.execution.sampling_batch_size,
                known=known,
                keep=keep,
                progress=context.progress,
            )

        yield sample


def _read_known_responses(context: StageContext) -> dict[str, Row]:
    """The responses of a stage's earlier versions, by id."""
    return {
        row["response_id"]: row
        for folder in context.earlier_versions()
        for row in read_table(folder / RESPONSES_TABLE)
    }


def view_responses(context: StageContext, *columns: str) -> StoredRows:
    """Some columns of `sampled_responses`; its texts alone may be much of what a process can hold."""
    return StoredRows(path=context.inputs["sampled_responses"] / RESPONSES_TABLE, columns=columns)


def read_nameable_responses(context: StageContext) -> list[Row]:
    """The responses that people's labels may name: those of the round, and those of the first."""
    folders = [
        context.inputs[name] for name in ("sampled_responses", FIRST_RESPONSES) if name in context.inputs
    ]
    return [row for folder in folders for row in read_table(folder / RESPONSES_TABLE)]


def write_responses(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes a table of responses; returns the number of rows."""
    return write_table(folder / RESPONSES_TABLE, rows, responses_schema())


def _read_share_cut(folder: Path) -> dict[str, float | None]:
    return {"share_cut": measure_share_cut(stream_table(folder / RESPONSES_TABLE, ["finish_reason"]))}


def _check_answered(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    prompts = {p.prompt_id for p in read_prompts(inputs["prompts"])}
    num_empty = 0
    for row in stream_table(output / RESPONSES_TABLE, ["prompt_id", "text"]):
        prompts.discard(row["prompt_id"])
        num_empty += not row["text"].strip()
    return CheckResult(
        passed=not prompts and not num_empty,
        facts={"num_unanswered": len(prompts), "num_empty": num_empty},
    )
