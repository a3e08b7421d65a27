"""Makes one Dagster asset for each stage of the graph."""

from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    DataVersion,
    MaterializeResult,
    ResourceParam,
    asset,
)

from rlaif_dagster.defs.metadata import describe_outcome
from rlaif_dagster.defs.provenance import (
    depend_on_recipe,
    find_drift_doubts,
    name_inputs,
    report_check,
    tell_recipe,
)
from rlaif_dagster.defs.resources import ProjectResource, RunLog
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.names import JUDGE_CANARY
from rlaif_dagster.progress import RunProgress

AGAIN_TAG = "rlaif/again"
"""A run with this tag computes the named asset even if the result is known."""


def build_asset(stage: Stage) -> AssetsDefinition:
    """Makes the asset of a stage: it reuses or computes one version and reports it."""
    key = AssetKey.from_user_string(stage.name)

    @asset(
        key=key,
        group_name=key.path[0] if len(key.path) > 1 else None,
        deps=[*map(AssetKey.from_user_string, stage.inputs), depend_on_recipe(stage.name)],
        description=stage.planning.description,
        kinds=set(stage.planning.kinds),
        code_version=stage.identity.code_version,
        check_specs=[
            AssetCheckSpec(name=check.name, asset=key, description=check.description, blocking=check.blocking)
            for check in stage.governance.checks
        ],
    )
    def materialise_stage(
        context: AssetExecutionContext,
        project: ProjectResource,
        progress: ResourceParam[RunProgress | None],
        graph: ResourceParam[Graph | None],
    ) -> MaterializeResult:  # type: ignore[type-arg]
        current = (graph or project.graph)[stage.name]
        run_id = context.run.run_id
        told = progress or RunLog()
        told.start_asset(stage.name)
        with project.events.telling(stage.name, run_id, warn=context.log.warning) as tell_record:
            outcome = materialise(
                project.project,
                current,
                progress=told,
                run_id=run_id,
                budgets=project.budgets,
                again=context.run.tags.get(AGAIN_TAG) == stage.name,
            )
            tell_record(outcome.record)
        record = outcome.record
        told.finish_asset(stage.name, "not made" if record.is_stopped else outcome.status, record.rows)
        if stage.name == JUDGE_CANARY:
            for observation in find_drift_doubts(context.instance, project.project):
                context.log_event(observation)
        return report_outcome(context.instance, project, current, outcome)

    return materialise_stage


def report_outcome(
    instance: DagsterInstance, project: ProjectResource, stage: Stage, outcome: MaterialiseResult
) -> "MaterializeResult[None]":
    """Reports an asset's result in Dagster's terms."""
    record = outcome.record
    tell_recipe(instance, record.asset, record.recipe)
    return MaterializeResult(
        data_version=DataVersion(record.output.digest),
        tags=name_inputs(instance, record),
        metadata=describe_outcome(project.project, outcome),
        check_results=[report_check(stage, record, check) for check in record.checks],
    )
