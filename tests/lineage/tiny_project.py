"""A project so small that all of its feedback is made in seconds: 6 prompts, 3 responses each, 3 principles.

Its responses and verdicts are those of the real models. Training is left out: the stages behind `ai_preferences` write
down what they are given, so their recipes, records and versions are real and their models are not.
"""

from collections.abc import Sequence
from pathlib import Path

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.build import Graph, build_graph, with_ancestors
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.plain_stages import change

TRAINED = ("reward_model", "aligned_policy", "evaluation", "released_policy")
CONSTITUTION = """\
principles:
  - id: helpful
    text: Answer the question that was asked.
    weight: 1.0
  - id: honest
    text: Say only what is true, and admit what you do not know.
    weight: 2.0
  - id: polite
    text: Be polite to the user.
    weight: 1.0
"""


def make_tiny(folder: Path) -> Project:
    """Makes the project; nothing is materialised."""
    init_command(folder)
    inputs = folder / "inputs"
    lines = (inputs / "prompts.jsonl").read_text().splitlines(keepends=True)
    (inputs / "prompts.jsonl").write_text("".join(lines[:6]))
    (inputs / "constitution.yaml").write_text(CONSTITUTION)
    edit_yaml(
        inputs / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            seed=3,
            sampling={"provider": "local", "num_samples": 3, "max_new_tokens": 48},
            pairing={"max_pairs_per_prompt": None},
            evaluation={"num_samples": 1},
        ),
    )
    # Six prompts cannot show that a judge is good enough; what is counted here does not depend on it.
    edit_yaml(inputs / "judge.yaml", lambda judge: judge.update(gates={"min_order_agreement": None}))
    return Project.open(folder)


def build_tiny_graph(project: Project) -> Graph:
    """The project's graph, with stages that write down what they are given in the place of training."""
    graph = build_graph(project.read_inputs())
    return graph | {name: leave_out_training(graph[name]) for name in TRAINED}


def leave_out_training(stage: Stage) -> Stage:
    """The stage with the same recipe, whose output is that recipe; it costs nothing."""

    def compute(context: StageContext) -> StageResult:
        given = {name: str(digest) for name, digest in context.digests.items()}
        (context.output / "given.json").write_bytes(
            canonical_json({"inputs": given, "settings": stage.identity.settings})
        )
        return StageResult()

    return change(stage, compute=compute, checks=(), requires={}, price=None)


def bring_up_to_date(project: Project, assets: Sequence[str] = ()) -> dict[str, MaterialiseResult]:
    """Does what `rlaif run` does, in this process and without Dagster."""
    graph = build_tiny_graph(project)
    return {
        name: materialise(project, graph[name], progress=ignore_progress)
        for name in with_ancestors(graph, assets)
    }


def make_base(folder: Path) -> Path:
    """Makes the project and brings it up to date."""
    bring_up_to_date(make_tiny(folder))
    return folder
