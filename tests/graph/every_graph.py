"""The graphs of all projects of `tests.lineage.input_fields`, and those with each input field flipped."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from tests.lineage.input_fields import CASES, PROJECTS, write_files, write_project


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A project's graph with one input field flipped."""

    project: str
    field: str
    graph: Graph

    @property
    def name(self) -> str:
        """The field and the project."""
        return f"{self.field} in {self.project}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryGraph:
    """The graphs as they are, by project, and with each field flipped."""

    projects: Mapping[str, Graph]
    flips: tuple[Flip, ...]

    @property
    def stages(self) -> Iterator[Stage]:
        """Every stage of every graph."""
        for graph in (*self.projects.values(), *(flip.graph for flip in self.flips)):
            yield from graph.values()


@functools.cache
def read_every_graph() -> EveryGraph:
    """Reads them once in a process; the files are gone afterwards."""
    projects, flips = {}, []
    with TemporaryDirectory() as scratch:
        for name in PROJECTS:
            folder = Path(scratch) / name
            folder.mkdir()
            write_project(folder, name)
            projects[name] = build_graph(ProjectInputs.read(folder))
        for name, place, content in CASES:
            folder = Path(scratch) / name
            write_files(folder, {place.file: content})
            graph = build_graph(ProjectInputs.read(folder))
            flips.append(Flip(project=name, field=place.field, graph=graph))
            write_files(folder, PROJECTS[name])
    return EveryGraph(projects=projects, flips=tuple(flips))
