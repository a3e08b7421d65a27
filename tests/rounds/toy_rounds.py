"""Rounds in a second: all stages are real but those that run a model, whose policies are a number, their level.

The level of the base policy is 0, and training adds one. An answer of a policy is as good as its level, and so are its
evaluation and what the judge's audit finds.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.build import Graph, list_builders, with_ancestors
from rlaif_dagster.graph.judging import write_judgements
from rlaif_dagster.graph.responses import write_responses
from rlaif_dagster.graph.rounds import unroll
from rlaif_dagster.graph.sources import read_prompts
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.names import COMPARISONS_TABLE, INPUTS_JSON, JUDGE_AUDIT_JSON, TRAINING_JSON
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.tables import read_table, write_table
from tests.conftest import edit_yaml
from tests.graph.planted_project import PRINCIPLES, write_judge, write_lines
from tests.plain_stages import change

NUM_PROMPTS = 60
LEVEL = "level"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What policies of each level are like; what is not named is as in the default.

    Attributes:
        wins: The share of held-out prompts that a policy of a level wins; the others are ties.
        strength: The judge's points over those of a policy of a level, with 0.1 to either side.
        accuracy: Lower end of the reward model's accuracy on answers of a level.
    """

    wins: Mapping[int, float] = field(default_factory=lambda: {1: 0.6, 2: 0.9})
    strength: Mapping[int, float] = field(default_factory=dict)
    accuracy: Mapping[int, float] = field(default_factory=dict)


def make_rounds(folder: Path, *, rounds: int, **plateau: Any) -> None:
    """Turns a new project into one of several rounds, with a planted judge that prefers the longer answer."""
    edit_yaml(
        folder / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            rounds=rounds, plateau=plateau, evaluation={"ground_truth": None}, release={"require": []}
        ),
    )
    prompts = [{"prompt": f"What is {number} and {number}?"} for number in range(NUM_PROMPTS)]
    write_lines(folder / "inputs" / "prompts.jsonl", prompts)
    (folder / "inputs" / "constitution.yaml").write_text(json.dumps({"principles": PRINCIPLES[:1]}))
    write_judge(folder, preference="longer")


def build_toy_graph(project: Project, world: World, overrides: tuple[Override, ...] = ()) -> Graph:
    """The project's graph, its models made up."""
    inputs = project.read_inputs()
    stages = [change(_make_up(build(inputs), world), overrides=overrides) for build in list_builders(inputs)]
    return {stage.name: stage for stage in unroll(stages, inputs)}


def run_toy(folder: Path, world: World, overrides: tuple[Override, ...] = ()) -> dict[str, MaterialiseResult]:
    """Does what `rlaif run` does, in this process and without Dagster."""
    project = Project.open(folder)
    graph = build_toy_graph(project, world, overrides)
    return {name: materialise(project, stage, progress=ignore_progress) for name, stage in graph.items()}


def run_toy_to(folder: Path, asset: str, table: str) -> list[dict[str, Any]]:
    """Brings an asset of a project whose policies are as in the default up to date; returns the rows of a table."""
    project = Project.open(folder)
    graph = build_toy_graph(project, World())
    for name in with_ancestors(graph, [asset]):
        materialise(project, graph[name], progress=ignore_progress)
    return read_table(folder / "data" / asset / table)


def _make_up(stage: Stage, world: World) -> Stage:
    made_up: dict[str, Callable[[World, StageContext], StageResult]] = {
        "base_policy": _make_base,
        "sampled_responses": _sample,
        "judge_audit": _audit,
        "reward_model": _reward,
        "aligned_policy": _align,
        "evaluation": _evaluate,
    }
    compute = made_up.get(stage.name)
    keep = stage.name not in ("judge_audit", "aligned_policy", "evaluation")
    checks = tuple(check for check in stage.governance.checks if check.blocking or not compute)
    return change(
        stage,
        **({"compute": functools.partial(compute, world)} if compute else {}),
        checks=checks if keep else (),
        requires={},
    )


def _read_level(folder: Path) -> int:
    return int((folder / LEVEL).read_text())


def _make_base(world: World, context: StageContext) -> StageResult:
    (context.output / LEVEL).write_text("0")
    return StageResult()


def _sample(world: World, context: StageContext) -> StageResult:
    level = _read_level(context.inputs["base_policy"])
    rows = [
        {
            "response_id": f"{prompt.prompt_id[:12]}{level}{index}",
            "prompt_id": prompt.prompt_id,
            "source": str(context.digests["base_policy"]),
            "index": index,
            # The first answer of any level is the same text.
            "text": f"It is {prompt.prompt.split()[2]}" + " indeed" * (level + 1) * index,
            "num_tokens": 3 + index,
            "finish_reason": "stop",
        }
        for prompt in read_prompts(context.inputs["prompts"])
        for index in range(3)
    ]
    return StageResult(rows=write_responses(context.output, rows), counts={"num_sampled": len(rows)})


def _audit(world: World, context: StageContext) -> StageResult:
    level = _read_level(context.inputs["base_policy"])
    strength = world.strength.get(level, 0.4)
    figure = {"value": strength, "low": strength - 0.1, "high": strength + 0.1, "n": 50}
    right = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50}
    audit: dict[str, Any] = {
        "reference": "ground_truth",
        "verdicts": {"judges": {"planted": {}}},
        "labels": {"judges": {"planted": {"accuracy": right}}},
        "policy": {"judge_minus_policy": {"planted": figure}},
    }
    (context.output / JUDGE_AUDIT_JSON).write_bytes(canonical_json(audit))
    return StageResult(rows=write_judgements(context.output, []))


def _reward(world: World, context: StageContext) -> StageResult:
    level = _find_level(context)
    figure = {
        "value": 0.9,
        "low": world.accuracy.get(level, 0.8),
        "high": 0.95,
        "n": 50,
        "num_clusters": 50,
    }
    training: dict[str, Any] = {"metrics": {"accuracy": figure}, "level": level}
    (context.output / TRAINING_JSON).write_bytes(canonical_json(training))
    return StageResult()


def _find_level(context: StageContext) -> int:
    """How often the answers of the longest kind say "indeed": once a level, and once more."""
    rows = read_table(context.inputs["ai_preferences"] / "preferences.parquet")
    return max(str(row[text]).count("indeed") for row in rows for text in ("text_a", "text_b")) // 2 - 1


def _align(world: World, context: StageContext) -> StageResult:
    (context.output / LEVEL).write_text(str(_read_level(context.inputs["base_policy"]) + 1))
    return StageResult()


def _evaluate(world: World, context: StageContext) -> StageResult:
    from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA

    level = _read_level(context.inputs["aligned_policy"])
    prompts = [prompt for prompt in read_prompts(context.inputs["prompts"]) if prompt.split == "eval"]
    wins = world.wins.get(level, max(world.wins.values())) * len(prompts)
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(COMPARISONS_SCHEMA.names),
            "prompt_id": prompt.prompt_id,
            "index": 0,
            "prompt": prompt.prompt,
            "base_text": "It is so.",
            "aligned_text": f"It is just so, {level}.",
            "p_judge": 0.9 if place < wins else 0.5,
            "base_tokens": 4,
            "aligned_tokens": 5,
            "principles": [],
        }
        for place, prompt in enumerate(sorted(prompts, key=lambda prompt: prompt.prompt_id))
    ]
    write_table(context.output / COMPARISONS_TABLE, rows, COMPARISONS_SCHEMA)
    (context.output / "metrics.json").write_bytes(canonical_json({"win_rate_judge": None}))
    (context.output / INPUTS_JSON).write_bytes(
        canonical_json({name: str(digest) for name, digest in context.digests.items()})
    )
    return StageResult(rows=len(rows))
