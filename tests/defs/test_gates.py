"""Gates and releases in real Dagster runs: what stops a run, what goes on, and what the UI is told."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContext

from rlaif_dagster.defs.build import build_definitions
from rlaif_dagster.defs.execution import run_assets
from rlaif_dagster.defs.provenance import RECIPES
from rlaif_dagster.errors import GateError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.decisions import add_override, make_hold, write_hold
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.progress import ignore_progress
from tests.lineage.candidates import make_graph, read_history, read_released_text
from tests.plain_stages import change

pytestmark = pytest.mark.slow


@pytest.fixture
def project(default_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with monkeypatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(default_project / ".dagster"))
        patch.setenv("RLAIF_PROJECT", str(default_project))
        yield Project.open(default_project)


class Loading(LoadingContext):
    """What Dagster's UI server gives to its own resolver of stale badges."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[object, object] = {}

    @property
    def instance(self) -> DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict:  # type: ignore[type-arg]
        return self._loaders


def run(project: Project, graph: Graph, *assets: str, with_upstream: bool = True) -> Mapping[str, str]:
    return run_assets(project, graph, assets, progress=ignore_progress, with_upstream=with_upstream)


def read_badges(project: Project, graph: Graph) -> tuple[dict[str, StaleStatus], str]:
    """The stale badge of every asset, and the data version of the released policy, as the UI shows them."""
    with DagsterInstance.get() as instance:
        assets = build_definitions(project.root, graph=graph).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, assets, Loading(instance))
        badges = {key.to_user_string(): resolver.get_status(key) for key in assets.get_all_asset_keys()}
        return badges, resolver.get_current_data_version(AssetKey(RELEASED_POLICY)).value


def test_a_gate_stops_the_run_and_the_child_alone_until_a_person_lets_it_pass(project: Project) -> None:
    closed = make_graph(project, "one", is_sound=False)
    with pytest.raises(GateError, match="evaluation: the blocking check schema failed"):
        run(project, closed)
    with pytest.raises(GateError, match="released_policy refuses evaluation"):
        run(project, closed, RELEASED_POLICY, with_upstream=False)
    assert RELEASED_POLICY not in project.ledger.find_heads()
    override = add_override(project, closed, "evaluation", "schema", "known fault of the check")
    opened = make_graph(project, "one", is_sound=False)
    assert run(project, opened) == {
        "aligned_policy": "reused",
        "evaluation": "reused",
        RELEASED_POLICY: "computed",
    }
    head = project.ledger.find_heads()[RELEASED_POLICY]
    assert head.overrides == (override,)
    with DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(AssetKey(RELEASED_POLICY))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["overrides"].value == [override.model_dump()]
    newer = {name: change(stage, settings="newer") for name, stage in opened.items()}
    newer["aligned_policy"] = make_graph(project, "two")["aligned_policy"]
    with pytest.raises(GateError, match="evaluation: the blocking check schema failed"):
        run(project, newer)


def test_the_ui_shows_the_release_that_a_rollback_returned_to(project: Project) -> None:
    for text in ("one", "two"):
        run(project, make_graph(project, text))
    [first, second] = read_history(project).releases
    write_hold(project, make_hold(project, str(first.digest), "rude"))
    held = make_graph(project, "two")
    assert run(project, held, RELEASED_POLICY, with_upstream=False) == {RELEASED_POLICY: "computed"}
    fresh = dict.fromkeys((*held, RECIPES.to_user_string()), StaleStatus.FRESH)
    assert read_badges(project, held) == (fresh, str(first.digest))
    newer = make_graph(project, "three")
    run(project, newer)
    assert read_badges(project, newer) == (fresh, str(first.digest))
    assert read_released_text(project) == "one"
    assert second.digest != first.digest
