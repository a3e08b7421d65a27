"""A released policy made in no time: real feedback on recorded answers; weights and evaluation are made up."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.evaluate import write_evaluation
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.learning import write_plots
from rlaif_dagster.graph.stage import Check, CheckResult, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import INPUTS_JSON, TRAINING_JSON
from rlaif_dagster.progress import ignore_progress
from tests.evaluation.made_up import make_comparisons, make_curves, make_facts
from tests.lineage.traced_project import make_traced_project
from tests.plain_stages import change

CURVES = make_curves()
STEPS = [{"step": point.step, "loss": point.value} for point in CURVES.reward_model_loss[0].points]
METRICS = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40, "num_clusters": 20}}


def write_model(folder: Path, training: dict[str, object]) -> StageResult:
    """Writes weights that depend on nothing, and what their training looked like."""
    (folder / "model.safetensors").write_bytes(canonical_json(sorted(training)))
    (folder / TRAINING_JSON).write_bytes(canonical_json(training))  # type: ignore[arg-type]
    return StageResult(metrics={"made_up": True})


def make_reward_model(context: StageContext) -> StageResult:
    return write_model(
        context.output, {"steps": STEPS, "margins": list(CURVES.reward_margins), "metrics": METRICS}
    )


def make_policy(context: StageContext) -> StageResult:
    checkpoints = [asdict(checkpoint) for checkpoint in CURVES.checkpoints]
    return write_model(context.output, {"steps": STEPS, "checkpoints": checkpoints})


def make_evaluation(context: StageContext) -> StageResult:
    metrics = write_evaluation(
        context.output,
        comparisons=make_comparisons(num_prompts=12),
        settings=EvaluationSettings(num_examples=2),
        facts=make_facts(),
        curves=CURVES,
    )
    write_plots(context.output, {})
    digests = {name: str(digest) for name, digest in context.digests.items()}
    (context.output / INPUTS_JSON).write_bytes(canonical_json(digests))
    return StageResult(metrics=metrics.to_json())


MADE_UP: dict[str, Callable[[StageContext], StageResult]] = {
    "reward_model": make_reward_model,
    "aligned_policy": make_policy,
    "evaluation": make_evaluation,
}


def make_released(folder: Path) -> Project:
    """Makes the project and releases its policy."""
    project = Project.open(make_traced_project(folder))
    materialise_made_up(project)
    return project


def materialise_made_up(project: Project, *, failed: Sequence[str] | None = None) -> None:
    """Brings the project up to date, with weights and an evaluation that are made up.

    Args:
        project: The project.
        failed: The checks that what is made up fails, of all those that it has; None for no checks.
    """
    for stage in build_graph(project.read_inputs()).values():
        if stage.name in MADE_UP:
            checks = (
                ()
                if failed is None
                else [_answer(check, check.name not in failed) for check in stage.governance.checks]
            )
            made = change(stage, compute=MADE_UP[stage.name], checks=tuple(checks))
        else:
            made = change(stage, requires={})
        materialise(project, made, progress=ignore_progress, run_id="run")


def _answer(check: Check, passed: bool) -> Check:
    return replace(check, run=lambda _output, _inputs: CheckResult(passed=passed))
