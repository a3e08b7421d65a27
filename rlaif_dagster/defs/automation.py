"""Sensors and the schedule: they tell Dagster the state of ledger and inputs, and request what is stale.

`watch_inputs` keeps the UI up to date and requests nothing. `rebuild_on_edit` and `rebuild_on_schedule` request exactly
the stale assets, once for each state of the inputs; both are off until they are switched on in the UI.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    schedule,
    sensor,
)

from rlaif_dagster.defs.provenance import find_drift_doubts, tell_head, tell_recipe
from rlaif_dagster.defs.runs import report_dead_runs
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, RlaifError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.inputs.pipeline import AutomationSettings
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.running import find_running
from rlaif_dagster.lineage.wanted import digest_graph, find_wanted_recipes

PROJECT_TAG = "rlaif/project"
"""Tag of a requested run: the project's folder."""
INPUTS_TAG = "rlaif/inputs"
"""Tag of a requested run: the digest of the recipes that the graph needs."""

_NOTHING = "nothing is stale"

_Reply = TypeVar("_Reply", bound=RunRequest | SkipReason)


def build_automation(
    root: Path, loaded: Graph, settings: AutomationSettings, *, job_name: str
) -> Definitions:
    """Makes the sensors and the schedule of a project.

    Args:
        root: The project's folder.
        loaded: The graph that Dagster has loaded.
        settings: Their schedule.
        job_name: The job whose assets they request.
    """
    return Definitions(
        sensors=[
            _build_watch_sensor(root, loaded, settings),
            _build_rebuild_sensor(root, loaded, settings, job_name),
        ],
        schedules=[_build_rebuild_schedule(root, loaded, settings, job_name)],
    )


def _build_watch_sensor(root: Path, loaded: Graph, settings: AutomationSettings) -> SensorDefinition:
    @sensor(
        name="watch_inputs",
        minimum_interval_seconds=settings.interval_seconds,
        default_status=DefaultSensorStatus.RUNNING,
        description="Reads the inputs and the ledger, and tells Dagster which assets are stale, which versions are the "
        "newest, and which runs died. It starts no run.",
    )
    def watch_inputs(context: SensorEvaluationContext) -> SkipReason:
        return _look(report_state, context, root, loaded)

    return watch_inputs


def _build_rebuild_sensor(
    root: Path, loaded: Graph, settings: AutomationSettings, job_name: str
) -> SensorDefinition:
    @sensor(
        name="rebuild_on_edit",
        job_name=job_name,
        minimum_interval_seconds=settings.interval_seconds,
        default_status=DefaultSensorStatus.STOPPED,
        description="If something is stale, requests one run of exactly the stale assets. A failed run is not "
        "requested again until the inputs change.",
    )
    def rebuild_on_edit(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        return _look(request_rebuild, context, root, loaded)

    return rebuild_on_edit


def _build_rebuild_schedule(
    root: Path, loaded: Graph, settings: AutomationSettings, job_name: str
) -> ScheduleDefinition:
    @schedule(
        name="rebuild_on_schedule",
        job_name=job_name,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.STOPPED,
        description="Does the same as rebuild_on_edit, at the times of `automation.cron` (UTC).",
    )
    def rebuild_on_schedule(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        return _look(request_rebuild, context, root, loaded)

    return rebuild_on_schedule


def request_rebuild(instance: DagsterInstance, project: Project, graph: Graph) -> RunRequest | SkipReason:
    """Requests a run of the assets that the plan finds stale, or says why none is due.

    Raises:
        RlaifError: If inputs, ledger or store are wrong.
    """
    plan = make_plan(project, graph, priced=False)
    stale = [item.asset for item in plan.stale]
    if not stale:
        return SkipReason(_NOTHING)
    gates = sorted({gate for item in plan.stale for gate in item.blocked_by})
    if gates:
        return SkipReason(f"a failed check blocks the run: {', '.join(gates)}")
    heads = project.ledger.find_heads()
    inputs = str(digest_graph(graph))
    roots = [heads.get(name) for name in stale if set(graph[name].inputs).isdisjoint(stale)]
    obstacle = _find_obstacle(instance, project, inputs, roots)
    if obstacle:
        return SkipReason(obstacle)
    versions = {name: head.record_id for name, head in heads.items()}
    return RunRequest(
        run_key=str(Digest.from_json({"inputs": inputs, "versions": versions})),
        asset_selection=[AssetKey.from_user_string(name) for name in stale],
        tags={PROJECT_TAG: str(project.root), INPUTS_TAG: inputs},
    )


def report_state(instance: DagsterInstance, project: Project, graph: Graph) -> SkipReason:
    """Tells Dagster what it does not know yet: each asset's newest version, its needed recipe, and doubts.

    Also reports runs whose process died as failed.

    Raises:
        RlaifError: If inputs, ledger or store are wrong.
    """
    report_dead_runs(instance, project)
    heads = project.ledger.find_heads()
    stale = {item.asset: item.causes for item in make_plan(project, graph, priced=False).stale}
    for asset, recipe in find_wanted_recipes(graph, heads, stale).items():
        if asset in heads:
            tell_head(instance, graph[asset], heads[asset])
        tell_recipe(instance, asset, recipe, stale.get(asset, ()))
    for observation in find_drift_doubts(instance, project):
        instance.report_runless_asset_event(observation)
    return SkipReason(f"stale: {', '.join(stale)}" if stale else _NOTHING)


def _look(
    act: Callable[[DagsterInstance, Project, Graph], _Reply],
    context: SensorEvaluationContext | ScheduleEvaluationContext,
    root: Path,
    loaded: Graph,
) -> _Reply | SkipReason:
    """Acts on the current project; an error becomes the reason why nothing is done."""
    try:
        project = Project.open(root)
        graph = project.build_graph()
        if _draw(graph) != _draw(loaded):
            raise InputError(
                "the inputs describe another graph than the one that Dagster has loaded",
                file=project.root / PIPELINE_FILE,
                remedy="reload the definitions in the UI (Deployment, then Reload), or restart `rlaif ui`",
            )
        return act(context.instance, project, graph)
    except RlaifError as error:
        return SkipReason(str(error))


def _draw(graph: Graph) -> dict[str, set[str]]:
    return {name: set(stage.inputs) for name, stage in graph.items()}


def _find_obstacle(
    instance: DagsterInstance, project: Project, inputs: str, roots: Collection[MaterialisationRecord | None]
) -> str | None:
    """Says why no run may be requested now: one at a time, and once for each state of the inputs.

    Args:
        instance: Dagster's instance.
        project: The project.
        inputs: The state of the inputs.
        roots: The newest records of the stale assets that read nothing stale.
    """
    running = find_running(project)
    if running:
        return f"a run of this project is in progress ({running[0]})"
    latest = next(iter(instance.get_runs(RunsFilter(tags={PROJECT_TAG: str(project.root)}), limit=1)), None)
    if latest is None:
        return None
    if not latest.is_finished and latest.status is not DagsterRunStatus.STARTED:
        return f"the run {latest.run_id} is waiting to start; if it never starts, terminate it in the UI"
    is_left_over = not latest.is_success or all(head and head.run_id == latest.run_id for head in roots)
    if latest.tags[INPUTS_TAG] == inputs and is_left_over:
        return (
            f"the run {latest.run_id} was requested for these inputs but left something stale; "
            "look at it, then edit the inputs or start a run by hand"
        )
    return None
