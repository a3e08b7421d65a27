"""The stage of the responses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rlaif_dagster.generation.responses import failed_responses_schema, measure_share_cut, responses_schema
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.graph.checks import check_cut, check_schema
from rlaif_dagster.graph.rounds import FIRST_RESPONSES
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_prompts
from rlaif_dagster.graph.specs import identity, spec, speed
from rlaif_dagster.graph.stage import (
    Check,
    CheckResult,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs, RecordedFile
from rlaif_dagster.names import PROMPTS, RESPONSES_TABLE, SAMPLED_RESPONSES
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row, StoredRows, read_table, stream_table, write_table

if TYPE_CHECKING:
    from rlaif_dagster.generation.sampling import SamplingResult

FAILED_TABLE: Final = "failed.parquet"
"""The responses that a policy's server did not give; there is none where all were given."""

MODEL_ENGINE: Final = ("torch", "transformers", "tokenizers", "safetensors", *TABLE_ENGINE)
"""The libraries that decide the bytes of a table filled by a model."""


@spec
class SampledResponsesSpec:
    """How responses are sampled, and from which policy."""

    sampling: PolicySampling = identity()
    seed: int = identity()
    policy: str = identity(said_by="inputs")
    numerics: NumericsSettings = identity(said_by="numerics")
    batch_size: int = speed()


@spec
class RecordedResponsesSpec:
    """The responses of a file."""

    responses: RecordedFile = identity()


def build_sampled_responses(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the responses: sampled from the base policy, or recorded."""
    pipeline, policy = inputs.pipeline, inputs.first_policy
    spec: SampledResponsesSpec | RecordedResponsesSpec
    if isinstance(pipeline.sampling, PolicySampling):
        spec = SampledResponsesSpec(
            sampling=pipeline.sampling,
            seed=pipeline.seed,
            policy=policy,
            numerics=pipeline.numerics,
            batch_size=pipeline.execution.sampling_batch_size,
        )
    elif inputs.responses is not None:
        spec = RecordedResponsesSpec(responses=inputs.responses)
    else:
        raise TypeError("there is no file of recorded responses")
    is_sampled = isinstance(spec, SampledResponsesSpec)
    return Stage(
        identity=Identity(
            name=SAMPLED_RESPONSES,
            code_version="1",
            inputs=(PROMPTS, policy) if is_sampled else (PROMPTS,),
            spec=spec,
            engine=MODEL_ENGINE if is_sampled else TABLE_ENGINE,
        ),
        computing=Computing(
            compute=compute_sampled_responses if is_sampled else compute_recorded_responses,
            cheap=not is_sampled,
        ),
        governance=Governance(
            checks=(
                check_schema(RESPONSES_TABLE, responses_schema, key=("response_id",)),
                Check(
                    name="every_prompt_answered",
                    description="Every prompt has at least one response, and no response is empty.",
                    blocking=False,
                    run=_check_answered,
                ),
                check_cut("sampling.max_new_tokens" if is_sampled else None, _read_share_cut),
            ),
        ),
        planning=Planning(
            description="Several responses to every prompt.",
            kinds=("parquet", "pytorch") if is_sampled else ("parquet",),
            origins={"": f"{PIPELINE_FILE}:", "responses": f"{PIPELINE_FILE}: sampling.responses"},
        ),
    )


def compute_sampled_responses(context: StageContext, spec: SampledResponsesSpec) -> StageResult:
    """Samples the responses."""
    with open_sampler(context, seed=spec.seed, numerics=spec.numerics, batch_size=spec.batch_size) as sample:
        result = sample(spec.policy, read_prompts(context.inputs[PROMPTS]), spec.sampling)
    counts = {"num_sampled": result.num_sampled, "num_reused": result.num_reused}
    if result.failed:  # only a server fails at some; a table that others lack would change their versions
        counts["num_failed"] = write_table(
            context.output / FAILED_TABLE, result.failed, failed_responses_schema()
        )
    return StageResult(
        rows=write_responses(context.output, result.rows),
        counts=counts,
        metrics={"share_cut": measure_share_cut(result.rows)},
        num_open=len(result.failed),
    )


def compute_recorded_responses(context: StageContext, spec: RecordedResponsesSpec) -> StageResult:
    """Imports the responses."""
    from rlaif_dagster.generation.samplers.recorded import import_responses

    prompts = [{"prompt_id": p.prompt_id} for p in read_prompts(context.inputs[PROMPTS])]
    result = import_responses(spec.responses.path, prompts)
    spec.responses.require_unchanged()
    return StageResult(
        rows=write_responses(context.output, result.rows),
        counts={"num_sources": len(result.num_by_source)},
        metrics={"share_cut": measure_share_cut(result.rows)},
    )


class Sampler(Protocol):
    """Samples responses from a policy, which is an input of the stage; reuses known ones.

    Raises:
        ModelError: If the policy cannot be opened or served, or its context is too short for a prompt.
    """

    def __call__(self, policy: str, prompts: Iterable[Prompt], settings: PolicySampling) -> "SamplingResult":
        """Samples `settings.num_samples` responses to each prompt."""


@contextmanager
def open_sampler(
    context: StageContext, *, seed: int, numerics: NumericsSettings, batch_size: int
) -> Iterator[Sampler]:
    """Opens the stage's journal of responses, to sample any number of policies.

    Known are the responses of the stage's earlier versions (their `RESPONSES_TABLE`), those that killed runs left, and
    those sampled before in this stage.

    Raises:
        StorageError: If the journal cannot be read or written.
    """
    from rlaif_dagster.generation.journal import open_responses
    from rlaif_dagster.generation.sampling import sample_responses
    from rlaif_dagster.numerics import prepare_torch

    with open_responses(context.journal, lambda: _read_known_responses(context)) as (known, keep):

        def sample(policy: str, prompts: Iterable[Prompt], settings: PolicySampling) -> "SamplingResult":
            return sample_responses(
                context.inputs[policy],
                [{"prompt_id": p.prompt_id, "prompt": p.prompt} for p in prompts],
                settings,
                root_seed=seed,
                policy_digest=str(context.digests[policy]),
                device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
                batch_size=batch_size,
                known=known,
                keep=keep,
                progress=context.services.progress,
            )

        yield sample


def _read_known_responses(context: StageContext) -> dict[str, Row]:
    """Reads the responses of a stage's earlier versions, by id."""
    return {
        row["response_id"]: row
        for folder in context.services.earlier_versions()
        for row in read_table(folder / RESPONSES_TABLE)
    }


def view_responses(context: StageContext, *columns: str) -> StoredRows:
    """Opens some columns of `sampled_responses`; its texts alone may fill much of the memory."""
    return StoredRows(path=context.inputs[SAMPLED_RESPONSES] / RESPONSES_TABLE, columns=columns)


def read_nameable_responses(context: StageContext) -> list[Row]:
    """Reads the responses that people's labels may name: those of this round and of the first."""
    folders = [
        context.inputs[name] for name in (SAMPLED_RESPONSES, FIRST_RESPONSES) if name in context.inputs
    ]
    return [row for folder in folders for row in read_table(folder / RESPONSES_TABLE)]


def write_responses(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes a table of responses; returns the number of rows."""
    return write_table(folder / RESPONSES_TABLE, rows, responses_schema())


def _read_share_cut(folder: Path) -> dict[str, float | None]:
    return {"share_cut": measure_share_cut(stream_table(folder / RESPONSES_TABLE, ["finish_reason"]))}


def _check_answered(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    prompts = {p.prompt_id for p in read_prompts(inputs[PROMPTS])}
    num_empty = 0
    for row in stream_table(output / RESPONSES_TABLE, ["prompt_id", "text"]):
        prompts.discard(row["prompt_id"])
        num_empty += not row["text"].strip()
    return CheckResult(
        passed=not prompts and not num_empty,
        facts={"num_unanswered": len(prompts), "num_empty": num_empty},
    )
