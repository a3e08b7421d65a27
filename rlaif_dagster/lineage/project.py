"""A project: one folder with inputs, versions and a ledger."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from rlaif_dagster.errors import InputError, MissingPlugInError
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.plug_ins import add_origin
from rlaif_dagster.versioning.links import refuse_foreign_links
from rlaif_dagster.versioning.store import Store

PROJECT_VARIABLE = "RLAIF_PROJECT"
"""Environment variable that names the project's folder for processes that Dagster starts."""


@dataclass(frozen=True)
class Project:
    """One project folder.

    Attributes:
        root: The folder; it holds `inputs/`, `data/`, `data.dvc`, `.dvc/` and `lineage/`.
        uses_remote: Whether missing versions may be read from the DVC remote.
    """

    root: Path
    uses_remote: bool = False

    @classmethod
    def open(cls, root: Path, *, uses_remote: bool = False) -> "Project":
        """Opens an existing project.

        Args:
            root: Its folder.
            uses_remote: Whether missing versions may be read from the DVC remote. Commands that only read leave this
                off, because a clone chooses its remote. Push and pull open it in any case.

        Raises:
            InputError: If the folder is not a project.
            StorageError: If it has a forbidden link, see `refuse_foreign_links`.
        """
        root = root.resolve()
        if not (root / ".dvc").is_dir():
            raise InputError(
                "this folder is not a project (it has no .dvc folder)",
                file=root,
                remedy="name the project with --project DIR, or make one with `rlaif init DIR`",
            )
        refuse_foreign_links(root)
        return cls(root, uses_remote=uses_remote)

    @property
    def scratch(self) -> Path:
        """This machine's own folder: locks, work in progress and the ledger's index; it can be deleted."""
        return self.root / ".rlaif"

    @property
    def dagster_home(self) -> Path:
        """Dagster's folder: runs and events."""
        return self.root / ".dagster"

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The lineage ledger."""
        return Ledger(self.root / "lineage", scratch=self.scratch)

    @functools.cached_property
    def store(self) -> Store:
        """The version store."""
        return Store.open(self.root, uses_remote=self.uses_remote)

    def read_inputs(self) -> ProjectInputs:
        """Reads the current input files.

        Raises:
            InputError: If one of them is wrong.
        """
        try:
            return ProjectInputs.read(self.root)
        except MissingPlugInError as error:
            raise add_origin(error, self.ledger) from error

    def build_graph(self) -> Graph:
        """Builds the graph from the current inputs.

        Raises:
            InputError: If one of them is wrong.
        """
        return build_graph(self.read_inputs())


def find_root() -> Path:
    """Returns the folder that `RLAIF_PROJECT` names, or else the current one."""
    return Path(os.environ.get(PROJECT_VARIABLE, ".")).resolve()
