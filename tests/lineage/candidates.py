"""Policies and evaluations made in no time, in a project with real inputs, for the real stage that releases."""

from pathlib import Path
from tempfile import TemporaryDirectory

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.evaluation_checks import make_evaluation_checks
from rlaif_dagster.graph.release import build_released_policy, read_release
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.releases import ReleaseHistory
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.lineage.time_travel import checkout_version
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.progress import ignore_progress
from tests.plain_stages import change, make_plain_stage

[WIN_RATE] = [check for check in make_evaluation_checks({}) if check.name == "win_rate_over_half"]


def make_policy(text: str) -> Stage:
    def compute(context: StageContext) -> StageResult:
        (context.output / "model.safetensors").write_text(text)
        return StageResult()

    return make_plain_stage("aligned_policy", compute, settings={"setting": text})


def make_evaluation(*, low: float, is_sound: bool = True) -> Stage:
    """An evaluation that measured a win rate of 0.6 with this lower end, and whose blocking check says so or so."""

    def compute(context: StageContext) -> StageResult:
        win_rate = {"value": 0.6, "low": low, "high": 0.7, "n": 90, "num_clusters": 30}
        measured = {name: str(digest) for name, digest in context.digests.items()}
        (context.output / "metrics.json").write_bytes(canonical_json({"win_rate_judge": win_rate}))
        (context.output / "inputs.json").write_bytes(canonical_json(measured))
        return StageResult()

    schema = Check(
        name="schema",
        description="",
        blocking=True,
        run=lambda _output, _inputs: CheckResult(passed=is_sound),
    )
    return make_plain_stage(
        "evaluation",
        compute,
        inputs=("aligned_policy",),
        settings={"setting": [low, is_sound]},
        checks=(schema, WIN_RATE),
    )


def make_graph(project: Project, text: str, *, low: float = 0.55, is_sound: bool = True) -> Graph:
    """A candidate, its evaluation, and the release as the project's inputs ask for it now."""
    inputs = project.read_inputs()
    stages = (
        make_policy(text),
        make_evaluation(low=low, is_sound=is_sound),
        build_released_policy(inputs),
    )
    return {stage.name: change(stage, overrides=inputs.overrides) for stage in stages}


def build(
    project: Project, text: str, *, low: float = 0.55, is_sound: bool = True, release: bool = True
) -> MaterialiseResult:
    """Makes a candidate and evaluates it; then releases it, where the checks and the hold let it."""
    for stage in make_graph(project, text, low=low, is_sound=is_sound).values():
        if release or stage.name != RELEASED_POLICY:
            outcome = materialise(project, stage, progress=ignore_progress, run_id="run")
    return outcome


def release_texts(root: Path, *texts: str) -> Project:
    """Releases toy policies in a new project, one after the other."""
    project = Project.open(root)
    for text in texts:
        build(project, text)
    return project


def read_history(project: Project) -> ReleaseHistory:
    return ReleaseHistory.from_records(project.ledger.records())


def read_released_text(project: Project) -> str:
    """The text of the policy to which `data/released_policy` points."""
    digest = read_release(project.root / "data" / RELEASED_POLICY)["policy"]
    with TemporaryDirectory() as folder:
        checkout_version(project, f"aligned_policy@{digest}", Path(folder, "policy"))
        return Path(folder, "policy", "model.safetensors").read_text()
