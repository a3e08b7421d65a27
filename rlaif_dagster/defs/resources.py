"""Dagster resources: the project, and where progress goes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dagster import ConfigurableResource, InitResourceContext, get_dagster_logger
from pydantic import PrivateAttr

from rlaif_dagster.graph.budgets import Budgets
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.exporting.sending import EventSender
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.running import hold_run

_LOG_STEPS = 4  # a long stage logs its progress about this many times


class ProjectResource(ConfigurableResource):  # type: ignore[type-arg]
    """The project folder; its inputs are read once for each run, so that an edit during a run does not affect it."""

    root: str
    announced: bool = False
    """Whether the caller marks the run as in progress."""
    _project: Project | None = PrivateAttr(default=None)
    _graph: Graph | None = PrivateAttr(default=None)
    _budgets: Budgets = PrivateAttr(default_factory=Budgets)
    _events: EventSender = PrivateAttr(default_factory=EventSender)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["ProjectResource"]:
        """Marks the run as in progress while it lasts."""
        run = None if self.announced else context.run
        with hold_run(self.project, run.run_id) if run else nullcontext():
            yield self

    @property
    def project(self) -> Project:
        """The project."""
        if self._project is None:
            self._project = Project.open(Path(self.root), uses_remote=True)
        return self._project

    @property
    def events(self) -> EventSender:
        """The sender of OpenLineage events, if a server is named."""
        return self._events

    @property
    def graph(self) -> Graph:
        """The graph of the inputs as this run read them."""
        if self._graph is None:
            self._graph = self.project.build_graph()
        return self._graph

    @property
    def budgets(self) -> Budgets:
        """What this run may spend on served judges, over all assets."""
        return self._budgets


class RunLog:
    """A `RunProgress` that writes a few lines into the run's log; assets are in Dagster's own events."""

    def __init__(self) -> None:
        """Starts with nothing logged."""
        self._logger = get_dagster_logger()
        self._logged: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Logs the progress, each time that another part of the work is done."""
        step = done * _LOG_STEPS // max(total, 1)
        if step != self._logged.get(what):
            self._logged[what] = step
            self._logger.info(f"{what}: {done} of {total}" + (f" ({note})" if note else ""))

    def start_asset(self, asset: str) -> None:
        """Logs nothing."""

    def finish_asset(self, asset: str, status: str, rows: int | None) -> None:
        """Logs nothing."""
