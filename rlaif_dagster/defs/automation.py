"""Sensors and the schedule: they tell Dagster what the ledger and the inputs say, and request what is stale.

`watch_inputs` keeps the UI true and requests nothing. `rebuild_on_edit` and `rebuild_on_schedule` request exactly the
stale assets, once for one state of the inputs; both are off until they are switched on in the UI.
"""

import dataclasses
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

from rlaif_dagster.defs.provenance import tell_head, tell_recipe
from rlaif_dagster.defs.running import find_running
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, RlaifError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.inputs.pipeline import AutomationSettings
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import find_parents
from rlaif_dagster.lineage.wanted import find_stale, find_wanted_recipes

PROJECT_TAG = "rlaif/project"
"""Tag of a requested run: the project's folder."""
INPUTS_TAG = "rlaif/inputs"
"""Tag of a requested run: the digest of what the graph wanted, all inputs being stale."""

_NOTHING = "nothing is stale"

Answer = TypeVar("Answer", bound=RunRequest | SkipReason)


def build_automation(
    root: Path, loaded: Graph, settings: AutomationSettings, *, job_name: str
) -> Definitions:
    """Makes the sensors and the schedule of a project.

    Args:
        root: The project's folder.
        loaded: The graph that Dagster has loaded.
        settings: When they look.
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
        description="Reads the inputs and the ledger, and tells Dagster which assets are stale and which versions are "
        "the newest. It starts no run.",
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
        description="When something is stale, requests one run of exactly the stale assets. A run that failed is not "
        "requested again before the inputs change.",
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
        description="At the times of `automation.cron` (UTC), does what rebuild_on_edit does.",
    )
    def rebuild_on_schedule(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        return _look(request_rebuild, context, root, loaded)

    return rebuild_on_schedule


def request_rebuild(instance: DagsterInstance, project: Project, graph: Graph) -> RunRequest | SkipReason:
    """Requests a run of the stale assets, or says why none is due.

    Raises:
        GateError: If a stale asset would refuse to read a version that the run would not replace.
        LedgerError: If the ledger is damaged.
    """
    stale = find_stale(project, graph)
    if not stale:
        return SkipReason(_NOTHING)
    _require_gates(project, graph, stale)
    inputs = str(Digest.from_json(find_wanted_recipes(project, graph, set(graph))))
    obstacle = _find_obstacle(instance, project, inputs)
    if obstacle:
        return SkipReason(obstacle)
    heads = {name: head.record_id for name, head in project.ledger.find_heads().items()}
    return RunRequest(
        run_key=str(Digest.from_json({"inputs": inputs, "heads": heads})),
        asset_selection=[AssetKey.from_user_string(name) for name in stale],
        tags={PROJECT_TAG: str(project.root), INPUTS_TAG: inputs},
    )


def report_state(instance: DagsterInstance, project: Project, graph: Graph) -> SkipReason:
    """Tells Dagster the newest version of each asset and the recipe that it wants, where it was told another.

    Raises:
        LedgerError: If the ledger is damaged.
    """
    heads = project.ledger.find_heads()
    stale = find_stale(project, graph)
    for asset, recipe in find_wanted_recipes(project, graph, set(stale)).items():
        if asset in heads:
            tell_head(instance, heads[asset])
        tell_recipe(instance, asset, recipe)
    return SkipReason(f"stale: {', '.join(stale)}" if stale else _NOTHING)


def _look(
    act: Callable[[DagsterInstance, Project, Graph], Answer],
    context: SensorEvaluationContext | ScheduleEvaluationContext,
    root: Path,
    loaded: Graph,
) -> Answer | SkipReason:
    """Acts on the project as it is now; what is wrong with it becomes the reason why nothing is done."""
    try:
        project = Project.open(root)
        graph = project.build_graph()
        if _draw(graph) != _draw(loaded):
            raise InputError(
                "the inputs now describe another graph than the one that Dagster has loaded",
                file=project.root / PIPELINE_FILE,
                remedy="reload the definitions in the UI (Deployment, then Reload), or restart `rlaif ui`",
            )
        return act(context.instance, project, graph)
    except RlaifError as error:
        return SkipReason(str(error))


def _draw(graph: Graph) -> dict[str, set[str]]:
    return {name: set(stage.inputs) for name, stage in graph.items()}


def _require_gates(project: Project, graph: Graph, stale: Collection[str]) -> None:
    """Raises GateError if a stale asset reads a version that it would refuse, and that the run would not replace."""
    for name in stale:
        kept = tuple(parent for parent in graph[name].inputs if parent not in stale)
        find_parents(project, dataclasses.replace(graph[name], inputs=kept))


def _find_obstacle(instance: DagsterInstance, project: Project, inputs: str) -> str | None:
    """Why no run may be requested now: one at a time, and once for one state of the inputs."""
    running = find_running(project)
    if running:
        return f"the run {running[0]} is at work on this project"
    latest = next(iter(instance.get_runs(RunsFilter(tags={PROJECT_TAG: str(project.root)}), limit=1)), None)
    if latest is None or latest.is_success:
        return None
    if not latest.is_finished and latest.status is not DagsterRunStatus.STARTED:
        return f"the run {latest.run_id} waits to start; if it never does, terminate it in the UI"
    if latest.tags[INPUTS_TAG] == inputs:
        return (
            f"the run {latest.run_id} was requested for these inputs and did not succeed; "
            "edit the inputs, or start a run by hand"
        )
    return None
