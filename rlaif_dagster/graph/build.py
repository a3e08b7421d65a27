"""The whole graph, in the order in which it is computed."""

from collections.abc import Iterable
from dataclasses import replace

from rlaif_dagster.graph.evaluation import build_evaluation
from rlaif_dagster.graph.judging import build_judgements
from rlaif_dagster.graph.learning import build_aligned_policy, build_reward_model
from rlaif_dagster.graph.preferences import build_ai_preferences
from rlaif_dagster.graph.release import build_released_policy
from rlaif_dagster.graph.responses import build_sampled_responses
from rlaif_dagster.graph.revision import REVISION_BUILDERS
from rlaif_dagster.graph.sources import build_base_policy, build_constitution, build_judge, build_prompts
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs

Graph = dict[str, Stage]
"""Stages by name, each after all that it reads."""

BUILDERS = (
    build_constitution,
    build_judge,
    build_prompts,
    build_base_policy,
    *REVISION_BUILDERS,
    build_sampled_responses,
    build_judgements,
    build_ai_preferences,
    build_reward_model,
    build_aligned_policy,
    build_evaluation,
    build_released_policy,
)


def build_graph(inputs: ProjectInputs) -> Graph:
    """Builds the graph that the inputs describe."""
    builders = [build for build in BUILDERS if inputs.critic or build not in REVISION_BUILDERS]
    stages = [replace(build(inputs), overrides=inputs.overrides) for build in builders]
    return {stage.name: stage for stage in stages}


def with_ancestors(graph: Graph, assets: Iterable[str]) -> list[str]:
    """The assets named and all that they are made from, upstream first; every asset if none is named."""
    wanted = set(assets) or set(graph)
    for name in reversed(graph):
        if name in wanted:
            wanted.update(graph[name].inputs)
    return [name for name in graph if name in wanted]
