"""Builds the Dagster definitions of a project."""

import logging
from pathlib import Path

from dagster import (
    AssetSelection,
    Definitions,
    ResourceDefinition,
    ScheduleDefinition,
    define_asset_job,
    in_process_executor,
)

from rlaif_dagster.defs.assets import AGAIN_TAG, build_asset
from rlaif_dagster.defs.automation import build_automation
from rlaif_dagster.defs.provenance import build_recipes_spec
from rlaif_dagster.defs.resources import ProjectResource
from rlaif_dagster.defs.text_selections import allow_text_selections
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import JUDGE_CANARY
from rlaif_dagster.progress import RunProgress
from rlaif_dagster.project_template import TEMPLATE_ROOT

MAIN_JOB = "align_policy"
"""The job that brings every asset up to date."""
CANARY_JOB = "ask_canary"
"""The job that asks the judge the canary's questions again."""


def build_definitions(
    root: Path, *, graph: Graph | None = None, progress: RunProgress | None = None
) -> Definitions:
    """Makes the definitions of a project.

    If the project's inputs are wrong, the graph of the default inputs is shown, and every run reports the error.

    Args:
        root: The project's folder.
        graph: The graph, if the caller has built it already for a run in this process that the caller announces; then
            there is no automation.
        progress: Where assets and long stages report progress; the run's log if None.
    """
    allow_text_selections()
    if graph is not None:
        return _build_assets(root, graph, given=graph, progress=progress)
    inputs = read_inputs(root)
    shown = build_graph(inputs)
    automation = inputs.pipeline.automation
    canary = ScheduleDefinition(
        name="canary",
        job_name=CANARY_JOB,
        cron_schedule=automation.canary_cron,
        execution_timezone="UTC",
        description="Asks the judge the canary's questions again. Off until it is switched on in the UI.",
    )
    return Definitions.merge(
        _build_assets(root, shown, given=None, progress=progress),
        build_automation(root, shown, automation, job_name=MAIN_JOB),
        Definitions(schedules=[canary]),
    )


def read_inputs(root: Path) -> ProjectInputs:
    """Reads the inputs of a project, or the default inputs if they are wrong."""
    try:
        return ProjectInputs.read(root)
    except InputError as error:
        logging.getLogger(__name__).warning(
            "%s\nThe graph of the default inputs is shown until this is fixed.", error
        )
        return ProjectInputs.read(TEMPLATE_ROOT)


def _build_assets(
    root: Path, shown: Graph, *, given: Graph | None, progress: RunProgress | None
) -> Definitions:
    return Definitions(
        assets=[build_recipes_spec(shown), *(build_asset(stage) for stage in shown.values())],
        jobs=[
            define_asset_job(
                MAIN_JOB,
                selection=AssetSelection.all(),
                description="From the constitution to an aligned and evaluated policy.",
            ),
            define_asset_job(
                CANARY_JOB,
                selection=AssetSelection.assets(JUDGE_CANARY),
                tags={AGAIN_TAG: JUDGE_CANARY},
                description="Asks the judge of the newest judgements a fixed set of its questions again.",
            ),
        ],
        resources={
            "project": ProjectResource(root=str(root), announced=given is not None),
            "progress": ResourceDefinition.hardcoded_resource(progress),
            "graph": ResourceDefinition.hardcoded_resource(given),
        },
        executor=in_process_executor,
    )
