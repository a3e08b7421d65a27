"""Stages that bring what a person edits into the graph: constitution, judge, prompts and base policy."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import Digest, JsonValue, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.changes import Change
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import (
    CONSTITUTION_FILE,
    EVALUATION_JUDGE,
    JUDGE_FILE,
    PIPELINE_FILE,
    ProjectInputs,
)
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.opening import (
    JUDGE_JSON,
    JUDGE_MODEL,
    JURY_FOLDER,
    describe_judge,
    write_judge,
)
from rlaif_dagster.judging.settings import JurySettings, RecordedJudgeSettings
from rlaif_dagster.models import copy_causal_lm
from rlaif_dagster.prompts import Prompt, find_leaks, prompts_schema, split_prompts
from rlaif_dagster.tables import stream_table, write_table

CONSTITUTION_JSON: Final = "constitution.json"
JUDGE_VERDICTS: Final = "verdicts.jsonl"
PROMPTS_TABLE: Final = "prompts.parquet"

NUM_EXAMPLES: Final = 3
"""Prompts shown of those that changed."""

TABLE_ENGINE: Final = ("pyarrow",)
"""What decides the bytes of a table."""


def build_constitution(inputs: ProjectInputs) -> Stage:
    """The stage of the constitution."""
    constitution = inputs.constitution

    def compute(context: StageContext) -> StageResult:
        (context.output / CONSTITUTION_JSON).write_bytes(canonical_json(constitution.to_json()))
        return StageResult(rows=len(constitution.principles))

    return Stage(
        name="constitution",
        description="The principles by which answers are judged, with their weights.",
        kinds=("json",),
        code_version="1",
        inputs=(),
        settings=constitution.to_json(),
        engine=(),
        compute=compute,
        origins={"": f"{CONSTITUTION_FILE}:"},
        cheap=True,
    )


def read_constitution(folder: Path) -> Constitution:
    """Reads a version of the `constitution` asset."""
    return Constitution.from_json(json.loads((folder / CONSTITUTION_JSON).read_bytes()))


def build_judge(inputs: ProjectInputs) -> Stage:
    """The stage of the judge: its settings, its prompt, and its model or its recorded verdicts.

    A jury's judges stand in folders of their own, `judges/0` and so on, each laid out like a single judge.
    """
    members = [describe_judge(source.settings, source.template) for source in inputs.judges]
    if isinstance(inputs.judge, JurySettings):
        described: dict[str, JsonValue] = {"provider": "jury", "combine": inputs.judge.combine}
        folders = [f"{JURY_FOLDER}/{place}/" for place in range(len(members))]
    elif isinstance(inputs.judge, RecordedJudgeSettings):
        hopes = {"gates", "human_labels"}  # they say nothing of the verdicts
        described = {**inputs.judge.model_dump(mode="json", exclude=hopes), "verdicts": JUDGE_VERDICTS}
        folders = []
    else:
        (described,) = members
        folders = [""]
    settings = {
        "judge": described,
        "judges": members if isinstance(inputs.judge, JurySettings) else [],
        "models": [source.model.describe() if source.model else None for source in inputs.judges],
        "verdicts": str(inputs.verdicts.digest) if inputs.verdicts else None,
    }

    def compute(context: StageContext) -> StageResult:
        (context.output / JUDGE_JSON).write_bytes(canonical_json(described))
        for folder, source in zip(folders, inputs.judges, strict=True):
            write_judge(context.output / folder, source.settings, source.template)
            if source.model:
                copy_causal_lm(source.model, context.output / folder / JUDGE_MODEL, link=context.preview)
        if inputs.verdicts:
            shutil.copyfile(inputs.verdicts.path, context.output / JUDGE_VERDICTS)
            inputs.verdicts.require_unchanged()
        return StageResult()

    return Stage(
        name="judge",
        description="Who compares the answers: the judge's settings, its prompt, and its model or recorded verdicts.",
        kinds=("json", "huggingface"),
        code_version="1",
        inputs=(),
        settings=settings,
        engine=(),
        compute=compute,
        origins={
            "judge": f"{JUDGE_FILE}:",
            "judges": f"{JUDGE_FILE}: judges",
            "models": f"{JUDGE_FILE}: model",
            "verdicts": f"{JUDGE_FILE}: verdicts",
        },
        cheap=all(source.model is None or source.model.folder is not None for source in inputs.judges),
    )


def build_evaluation_judge(inputs: ProjectInputs) -> Stage:
    """The stage of the evaluation's independent judge, laid out like a single judge."""
    source = inputs.evaluation_judge
    if source is None:
        raise TypeError("there is no independent judge")

    def compute(context: StageContext) -> StageResult:
        write_judge(context.output, source.settings, source.template)
        if source.model:
            copy_causal_lm(source.model, context.output / JUDGE_MODEL, link=context.preview)
        return StageResult()

    return Stage(
        name=EVALUATION_JUDGE,
        description="An independent judge of held-out answers, which labelled no training data.",
        kinds=("json", "huggingface"),
        code_version="1",
        inputs=(),
        settings={
            "judge": describe_judge(source.settings, source.template),
            "model": source.model.describe() if source.model else None,
        },
        engine=(),
        compute=compute,
        origins={"": f"{PIPELINE_FILE}: evaluation.judge"},
        cheap=source.model is None or source.model.folder is not None,
    )


def build_prompts(inputs: ProjectInputs) -> Stage:
    """The stage of the prompts."""
    settings = inputs.pipeline.prompts
    result = split_prompts(
        inputs.prompt_lines, eval_fraction=settings.eval_fraction, root_seed=inputs.pipeline.seed
    )
    rows = [
        {"prompt_id": p.prompt_id, "prompt": p.prompt, "category": p.category, "split": p.split}
        for p in result.prompts
    ]

    def compute(context: StageContext) -> StageResult:
        splits = {split: sum(p.split == split for p in result.prompts) for split in ("train", "eval")}
        for split, count in splits.items():
            if count == 0:
                raise InputError(
                    f"none of the {len(rows)} prompts falls into the split {split!r}",
                    file=Path(PIPELINE_FILE),
                    field="prompts.eval_fraction",
                    remedy="add prompts, or move the fraction towards the middle",
                )
        write_table(context.output / PROMPTS_TABLE, rows, prompts_schema())
        return StageResult(
            rows=len(rows),
            counts={
                "num_train": splits["train"],
                "num_eval": splits["eval"],
                "num_duplicates": result.num_duplicates,
            },
        )

    return Stage(
        name="prompts",
        description="Prompts, deduplicated and split by content into train and eval.",
        kinds=("parquet",),
        code_version="1",
        inputs=(),
        settings={"prompts": str(Digest.from_json([list(row.values()) for row in rows]))},
        engine=TABLE_ENGINE,
        compute=compute,
        checks=(
            check_schema(PROMPTS_TABLE, prompts_schema, key=("prompt_id",)),
            Check(
                name="no_leakage",
                description="No prompt is in both splits, not even in other letter case, punctuation or spacing.",
                blocking=True,
                run=_check_leakage,
            ),
        ),
        origins={"prompts": settings.file},
        cheap=True,
        compare=lambda old, new: compare_prompts(read_prompts(old), read_prompts(new), settings.file),
    )


def read_prompts(folder: Path) -> list[Prompt]:
    """Reads a version of the `prompts` asset."""
    return [Prompt(**row) for row in stream_table(folder / PROMPTS_TABLE)]


def compare_prompts(old: Sequence[Prompt], new: Sequence[Prompt], file: str) -> Iterator[Change]:
    """Yields what became of the prompts: those added, removed, and given another split or category.

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
                path=f"{file}: {name} (where the prompts are the same, prompts.eval_fraction or seed decide it)"
                if name == "split"
                else f"{file}: {name}",
                old=_count([f"{a.prompt} ({getattr(a, name)})" for a, _ in moved]),
                new=_count([f"{b.prompt} ({getattr(b, name)})" for _, b in moved]),
            )


def _count(texts: Sequence[str]) -> JsonValue:
    return {"count": len(texts), "first": list(texts[:NUM_EXAMPLES])}


def build_base_policy(inputs: ProjectInputs) -> Stage:
    """The stage of the base policy."""

    def compute(context: StageContext) -> StageResult:
        copy_causal_lm(inputs.base_policy, context.output, link=context.preview)
        return StageResult()

    return Stage(
        name="base_policy",
        description="The policy before alignment; a folder that from_pretrained opens.",
        kinds=("huggingface",),
        code_version="1",
        inputs=(),
        settings=inputs.base_policy.describe(),
        engine=(),
        compute=compute,
        origins={"": f"{PIPELINE_FILE}: base_policy"},
        cheap=inputs.base_policy.folder is not None,
    )


def _check_leakage(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    leaks = find_leaks(read_prompts(output))
    return CheckResult(passed=not leaks, facts={"num_leaks": len(leaks), "examples": leaks[:5]})
