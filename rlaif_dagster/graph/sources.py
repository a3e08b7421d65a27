"""Stages that bring the input files into the graph: constitution, judge, prompts and base policy."""

import functools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import JsonValue, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.changes import Change
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.specs import identity, spec
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
from rlaif_dagster.inputs.project_inputs import (
    CONSTITUTION_FILE,
    JUDGE_FILE,
    PIPELINE_FILE,
    JudgeSource,
    ProjectInputs,
    RecordedFile,
)
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.opening import JUDGE_MODEL, JURY_FOLDER, write_judge
from rlaif_dagster.models import ModelSource, copy_causal_lm
from rlaif_dagster.names import (
    BASE_POLICY,
    CONSTITUTION,
    CONSTITUTION_JSON,
    EVALUATION_JUDGE,
    JUDGE,
    JUDGE_JSON,
    JUDGE_VERDICTS,
    PROMPTS,
    PROMPTS_TABLE,
)
from rlaif_dagster.prompts import Prompt, PromptsResult, find_leaks, prompts_schema, split_prompts
from rlaif_dagster.tables import stream_table, write_table

NUM_PROMPT_EXAMPLES: Final = 3
"""How many changed prompts are shown."""

TABLE_ENGINE: Final = ("pyarrow",)
"""The library that decides the bytes of a table."""


@spec
class ConstitutionSpec:
    """The constitution as JSON."""

    constitution: JsonValue = identity(whole=True)


def build_constitution(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the constitution."""
    return Stage(
        identity=Identity(
            name=CONSTITUTION,
            code_version="1",
            inputs=(),
            spec=ConstitutionSpec(constitution=inputs.constitution.to_json()),
        ),
        computing=Computing(compute=compute_constitution, cheap=True),
        planning=Planning(
            description="The principles by which answers are judged, with their weights.",
            kinds=("json",),
            origins={"": f"{CONSTITUTION_FILE}:"},
        ),
    )


def compute_constitution(context: StageContext, spec: ConstitutionSpec) -> StageResult:
    """Writes the constitution."""
    (context.output / CONSTITUTION_JSON).write_bytes(canonical_json(spec.constitution))
    return StageResult(rows=len(read_constitution(context.output).principles))


def read_constitution(folder: Path) -> Constitution:
    """Reads a version of the `constitution` asset."""
    return Constitution.from_json(json.loads((folder / CONSTITUTION_JSON).read_bytes()))


@spec
class JudgeSpec:
    """The judge: its settings, or the content of `judge.json` for a jury or recorded verdicts.

    Attributes:
        judge: The judge.
        judges: A jury's judges.
        models: For each judge that is asked, where its model comes from, or None.
        verdicts: Recorded verdicts, or None.
    """

    judge: JudgeSource | Mapping[str, JsonValue] = identity()
    judges: tuple[JudgeSource, ...] = identity()
    models: tuple[ModelSource | None, ...] = identity()
    verdicts: RecordedFile | None = identity()


def build_judge(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the judge: its settings, its prompt, and its model or recorded verdicts.

    Each judge of a jury has its own folder, `judges/0` and so on, with the layout of a single judge.
    """
    is_one = inputs.judge.members == (inputs.judge,)
    return Stage(
        identity=Identity(
            name=JUDGE,
            code_version="1",
            inputs=(),
            spec=JudgeSpec(
                judge=inputs.judges[0] if is_one else inputs.judge.describe(),
                judges=() if is_one else inputs.judges,
                models=tuple(source.model for source in inputs.judges),
                verdicts=inputs.verdicts,
            ),
        ),
        computing=Computing(
            compute=compute_judge,
            cheap=all(source.model is None or source.model.folder is not None for source in inputs.judges),
        ),
        planning=Planning(
            description="The judge that compares the answers: its settings, its prompt, and its model or recorded "
            "verdicts.",
            kinds=("json", "huggingface"),
            origins={
                "judge": f"{JUDGE_FILE}:",
                "judges": f"{JUDGE_FILE}: judges",
                "models": f"{JUDGE_FILE}: model",
                "verdicts": f"{JUDGE_FILE}: verdicts",
            },
        ),
    )


def compute_judge(context: StageContext, spec: JudgeSpec) -> StageResult:
    """Writes the judge or judges, their models, and recorded verdicts."""
    members = {f"{JURY_FOLDER}/{place}": source for place, source in enumerate(spec.judges)}
    if isinstance(spec.judge, JudgeSource):
        members = {"": spec.judge}
    else:
        (context.output / JUDGE_JSON).write_bytes(canonical_json(spec.judge))
    for (folder, source), model in zip(members.items(), spec.models, strict=True):
        _write_source(context, folder, source, model)
    if spec.verdicts:
        shutil.copyfile(spec.verdicts.path, context.output / JUDGE_VERDICTS)
        spec.verdicts.require_unchanged()
    return StageResult()


def _write_source(context: StageContext, folder: str, source: JudgeSource, model: ModelSource | None) -> None:
    write_judge(context.output / folder, source.settings, source.template)
    if model:
        copy_causal_lm(model, context.output / folder / JUDGE_MODEL, link=context.preview)


@spec
class EvaluationJudgeSpec:
    """The independent judge, and where its model comes from."""

    judge: JudgeSource = identity()
    model: ModelSource | None = identity()


def build_evaluation_judge(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the evaluation's independent judge, with the layout of a single judge."""
    source = inputs.evaluation_judge
    if source is None:
        raise TypeError("there is no independent judge")
    return Stage(
        identity=Identity(
            name=EVALUATION_JUDGE,
            code_version="1",
            inputs=(),
            spec=EvaluationJudgeSpec(judge=source, model=source.model),
        ),
        computing=Computing(
            compute=compute_evaluation_judge, cheap=source.model is None or source.model.folder is not None
        ),
        planning=Planning(
            description="An independent judge for held-out answers, which has labelled no training data.",
            kinds=("json", "huggingface"),
            origins={"": f"{PIPELINE_FILE}: evaluation.judge"},
        ),
    )


def compute_evaluation_judge(context: StageContext, spec: EvaluationJudgeSpec) -> StageResult:
    """Writes the judge."""
    _write_source(context, "", spec.judge, spec.model)
    return StageResult()


@spec
class PromptsSpec:
    """The prompts, each in its split."""

    prompts: PromptsResult = identity()


def build_prompts(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the prompts."""
    settings = inputs.pipeline.prompts
    prompts = split_prompts(
        inputs.prompt_lines, eval_fraction=settings.eval_fraction, root_seed=inputs.pipeline.seed
    )
    return Stage(
        identity=Identity(
            name=PROMPTS,
            code_version="1",
            inputs=(),
            spec=PromptsSpec(prompts=prompts),
            engine=TABLE_ENGINE,
        ),
        computing=Computing(compute=compute_prompts, cheap=True),
        governance=Governance(
            checks=(
                check_schema(PROMPTS_TABLE, prompts_schema, key=("prompt_id",)),
                Check(
                    name="no_leakage",
                    description="No prompt is in both splits, even if letter case, punctuation or spacing differ.",
                    blocking=True,
                    run=_check_leakage,
                ),
            ),
        ),
        planning=Planning(
            description="Prompts, deduplicated and split by content into train and eval.",
            kinds=("parquet",),
            origins={"prompts": settings.file},
            compare=functools.partial(_compare_versions, settings.file),
        ),
    )


def compute_prompts(context: StageContext, spec: PromptsSpec) -> StageResult:
    """Writes the table of prompts."""
    prompts = spec.prompts.prompts
    splits = {split: sum(p.split == split for p in prompts) for split in ("train", "eval")}
    for split, count in splits.items():
        if count == 0:
            raise InputError(
                f"none of the {len(prompts)} prompts falls into the split {split!r}",
                file=Path(PIPELINE_FILE),
                field="prompts.eval_fraction",
                remedy="add prompts, or set the fraction closer to 0.5",
            )
    num_rows = write_table(context.output / PROMPTS_TABLE, map(asdict, prompts), prompts_schema())
    return StageResult(
        rows=num_rows,
        counts={
            "num_train": splits["train"],
            "num_eval": splits["eval"],
            "num_duplicates": spec.prompts.num_duplicates,
        },
    )


def read_prompts(folder: Path) -> list[Prompt]:
    """Reads a version of the `prompts` asset."""
    return [Prompt(**row) for row in stream_table(folder / PROMPTS_TABLE)]


def _compare_versions(file: str, old: Path, new: Path) -> Iterator[Change]:
    return compare_prompts(read_prompts(old), read_prompts(new), file)


def compare_prompts(old: Sequence[Prompt], new: Sequence[Prompt], file: str) -> Iterator[Change]:
    """Yields the changes of prompts: added, removed, or with another split or category.

    Args:
        old: The prompts before.
        new: The prompts after.
        file: The prompts file.
    """
    before, after = ({prompt.prompt_id: prompt for prompt in prompts} for prompts in (old, new))
    added = [prompt.prompt for key, prompt in after.items() if key not in before]
    removed = [prompt.prompt for key, prompt in before.items() if key not in after]
    if added:
        yield Change(path=f"{file}: added", old=None, new=_count(added))
    if removed:
        yield Change(path=f"{file}: removed", old=_count(removed), new=None)
    both = [(before[key], after[key]) for key in before if key in after]
    for name in ("split", "category"):
        moved = [(a, b) for a, b in both if getattr(a, name) != getattr(b, name)]
        if moved:
            yield Change(
                path=f"{file}: {name} (for unchanged prompts, prompts.eval_fraction or seed decides this)"
                if name == "split"
                else f"{file}: {name}",
                old=_count([f"{a.prompt} ({getattr(a, name)})" for a, _ in moved]),
                new=_count([f"{b.prompt} ({getattr(b, name)})" for _, b in moved]),
            )


def _count(texts: Sequence[str]) -> JsonValue:
    return {"count": len(texts), "first": list(texts[:NUM_PROMPT_EXAMPLES])}


@spec
class BasePolicySpec:
    """Where the base policy comes from."""

    source: ModelSource = identity(whole=True)


def build_base_policy(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the base policy."""
    return Stage(
        identity=Identity(
            name=BASE_POLICY,
            code_version="1",
            inputs=(),
            spec=BasePolicySpec(source=inputs.base_policy),
        ),
        computing=Computing(compute=compute_base_policy, cheap=inputs.base_policy.folder is not None),
        planning=Planning(
            description="The policy before alignment. A folder that from_pretrained opens.",
            kinds=("huggingface",),
            origins={"": f"{PIPELINE_FILE}: base_policy"},
        ),
    )


def compute_base_policy(context: StageContext, spec: BasePolicySpec) -> StageResult:
    """Copies the model."""
    copy_causal_lm(spec.source, context.output, link=context.preview)
    return StageResult()


def _check_leakage(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    leaks = find_leaks(read_prompts(output))
    return CheckResult(passed=not leaks, facts={"num_leaks": len(leaks), "examples": leaks[:5]})
