"""Builds the whole graph, in the order of computation."""

import functools
from collections.abc import Iterable
from dataclasses import replace

from rlaif_dagster.graph.aligned_policy import build_aligned_policy
from rlaif_dagster.graph.cards import Builder
from rlaif_dagster.graph.evaluation import build_evaluation
from rlaif_dagster.graph.judge_audit import build_judge_audit
from rlaif_dagster.graph.judge_canary import build_judge_canary
from rlaif_dagster.graph.judging import build_judgements
from rlaif_dagster.graph.plateau import build_plateau
from rlaif_dagster.graph.preferences import build_ai_preferences
from rlaif_dagster.graph.pricing import (
    price_canary,
    price_evaluation,
    price_judge_audit,
    price_judgements,
    price_responses,
    price_revisions,
)
from rlaif_dagster.graph.release import build_released_policy
from rlaif_dagster.graph.responses import build_sampled_responses
from rlaif_dagster.graph.revision import REVISION_BUILDERS, build_revised_responses
from rlaif_dagster.graph.reward_model import build_reward_model
from rlaif_dagster.graph.rounds import unroll
from rlaif_dagster.graph.sources import (
    build_base_policy,
    build_constitution,
    build_evaluation_judge,
    build_judge,
    build_prompts,
)
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs

Graph = dict[str, Stage]
"""Stages by name, each after everything that it reads."""

BUILDERS = (
    build_constitution,
    build_judge,
    build_prompts,
    build_base_policy,
    *REVISION_BUILDERS,
    build_sampled_responses,
    build_judgements,
    build_judge_audit,
    build_judge_canary,
    build_ai_preferences,
    build_reward_model,
    build_aligned_policy,
    build_evaluation_judge,
    build_evaluation,
    build_plateau,
    build_released_policy,
)

PRICES = {
    build_revised_responses: price_revisions,
    build_sampled_responses: price_responses,
    build_judgements: price_judgements,
    build_judge_audit: price_judge_audit,
    build_judge_canary: price_canary,
    build_evaluation: price_evaluation,
}
"""How much each stage will sample and ask."""


def build_graph(inputs: ProjectInputs) -> Graph:
    """Builds the graph that the inputs describe."""
    stages = [_govern(build(inputs), build, inputs) for build in list_builders(inputs)]
    return {stage.name: stage for stage in unroll(stages, inputs)}


def _govern(stage: Stage, build: Builder, inputs: ProjectInputs) -> Stage:
    """Adds to a stage its price and the overrides of its checks."""
    price = functools.partial(PRICES[build], inputs) if build in PRICES else None
    return replace(
        stage,
        governance=replace(stage.governance, overrides=inputs.overrides),
        planning=replace(stage.planning, price=price),
    )


def list_builders(inputs: ProjectInputs) -> list[Builder]:
    """Lists the builders of the stages that the inputs need, in the first round."""
    left_out = (
        *(() if inputs.critic else REVISION_BUILDERS),
        *(() if inputs.evaluation_judge else (build_evaluation_judge,)),
        *(() if inputs.pipeline.rounds > 1 else (build_plateau,)),
    )
    return [build for build in BUILDERS if build not in left_out]


def with_ancestors(graph: Graph, assets: Iterable[str]) -> list[str]:
    """Lists the named assets and everything they are made from, upstream first; every asset if none is named."""
    wanted = set(assets) or set(graph)
    for name in reversed(graph):
        if name in wanted:
            wanted.update(graph[name].inputs)
    return [name for name in graph if name in wanted]
