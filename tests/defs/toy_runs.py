"""Small real projects in a real Dagster instance: stages that write what they read, runs, and Dagster's own badges."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from dagster import AssetKey, AssetMaterialization, DagsterInstance, ExecuteInProcessResult
from dagster._core.definitions.data_version import (
    INPUT_DATA_VERSION_TAG_PREFIX,
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.loader import LoadingContextForTest

from rlaif_dagster.defs.build import MAIN_JOB, build_definitions
from rlaif_dagster.defs.provenance import RECIPES
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.names import JUDGE_CANARY
from tests.plain_stages import make_plain_stage

EDGES = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("c",), JUDGE_CANARY: ()}
"""What each asset of the toy graph reads; the canary has a job of its own, so it must be there."""
FAILING = "fails its check"
"""The setting of an asset whose blocking check fails."""
OPEN = "leaves a row open"
"""The setting of an asset that has a row to try again."""
RAISING = "raises"
"""The setting of an asset whose computation raises."""


def make_stage(
    name: str, setting: str = "", inputs: Iterable[str] = (), act: Callable[[], object] = lambda: None
) -> Stage:
    """A stage that does something, then writes its setting and, in upper case, what it read.

    So its bytes stay as they are when only the case of an input's bytes changes.
    """

    def compute(context: StageContext) -> StageResult:
        act()
        if setting == RAISING:
            raise MemoryError(name)
        read = [(folder / "text").read_text().upper() for _, folder in sorted(context.inputs.items())]
        (context.output / "text").write_text("\n".join([f"{name} {setting}", *read]))
        return StageResult(num_open=int(setting == OPEN))

    def check(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
        del inputs
        return CheckResult(passed=FAILING not in (output / "text").read_text())

    good = Check(name="good", description="", blocking=True, run=check)
    return make_plain_stage(name, compute, inputs=inputs, settings={"setting": setting}, checks=(good,))


def make_graph(**settings: str) -> Graph:
    """The toy graph with a setting for each asset."""
    return {name: make_stage(name, settings.get(name, ""), inputs) for name, inputs in EDGES.items()}


def run_graph(
    instance: DagsterInstance,
    project: Project,
    graph: Graph,
    assets: Collection[str] = (),
    tags: Mapping[str, str] | None = None,
) -> ExecuteInProcessResult:
    """Runs assets, all if none is named, in one Dagster run; a failure is a result."""
    job = build_definitions(project.root, graph=graph).resolve_job_def(MAIN_JOB)
    return job.execute_in_process(
        instance=instance,
        asset_selection=[AssetKey.from_user_string(name) for name in assets or graph],
        tags=dict(tags or {}),
        raise_on_error=False,
    )


def find_badges(instance: DagsterInstance, project: Project, graph: Graph) -> set[str]:
    """The assets that Dagster shows as stale or missing."""
    shown = build_definitions(project.root, graph=graph).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, shown, LoadingContextForTest(instance))
    return {
        name
        for name in graph
        if resolver.get_status(AssetKey.from_user_string(name)) is not StaleStatus.FRESH
    }


def read_latest(instance: DagsterInstance, asset: str) -> AssetMaterialization:
    """The materialisation that Dagster takes for an asset's newest."""
    entry = instance.get_latest_materialization_event(AssetKey.from_user_string(asset))
    assert entry is not None
    assert entry.asset_materialization is not None
    return entry.asset_materialization


def read_told_inputs(instance: DagsterInstance, asset: str) -> dict[str, str]:
    """The versions that Dagster says an asset's newest materialisation read."""
    tags = read_latest(instance, asset).tags or {}
    prefix = f"{INPUT_DATA_VERSION_TAG_PREFIX}/"
    told = {name.removeprefix(prefix): version for name, version in tags.items() if name.startswith(prefix)}
    told.pop(RECIPES.to_user_string())
    return told
