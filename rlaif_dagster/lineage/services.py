"""What a stage asks of the process that computes it: earlier versions of the project, and the run's budgets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError, MissingInputError
from rlaif_dagster.graph.budgets import Budgets
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import (
    MaterialisationRecord,
    Recipe,
)
from rlaif_dagster.lineage.upgrades import find_former_recipes
from rlaif_dagster.progress import Progress
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings


def view_version(project: Project, record: MaterialisationRecord, folder: Path) -> None:
    """Makes a folder that shows a recorded version; verifies its bytes.

    Raises:
        CorruptVersionError: If the stored bytes are not those recorded.
        StorageError: If they are not available.
    """
    project.store.verify(record.output.md5, Digest.parse(record.output.digest))
    project.store.view(record.output.md5, folder)


def find_earlier(
    project: Project, stage: Stage, recipe: Recipe, *, of_any_code: bool = False
) -> Iterator[MaterialisationRecord]:
    """Yields the earlier versions that are here and whose rows may be reused, each once, newest first per asset.

    Args:
        project: The project.
        stage: The stage.
        recipe: Its recipe; yields versions of its code and libraries, and of earlier code whose rows are still valid.
        of_any_code: Yield versions made by any code and libraries.
    """
    ledger = project.ledger
    seen: set[str] = set()
    for asset in stage.computing.kin or (stage.name,):
        alike = recipe.model_copy(update={"asset": asset})
        makers = (alike, *(former.recipe for former in find_former_recipes(alike, for_rows=True)))
        for record in (
            ledger.find_asset(asset)
            if of_any_code
            else (record for maker in makers for record in ledger.find_made_alike(maker))
        ):
            if record.output.md5 in seen or record.is_stopped or not project.store.has(record.output.md5):
                continue
            seen.add(record.output.md5)
            yield record


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What a stage asks of this process: the project's versions, the run's budgets and its progress."""

    project: Project
    stage: Stage
    recipe: Recipe
    work: Path
    progress: Progress
    budgets: Budgets

    def find_budget(self, judge: str, settings: BudgetSettings) -> Budget:
        """Returns what the run may spend on a served judge."""
        return self.budgets.of_judge(judge, settings)

    def earlier_versions(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields views of the versions whose rows may be reused, newest first."""
        for record in find_earlier(self.project, self.stage, self.recipe, of_any_code=of_any_code):
            view = self.work / "earlier" / record.output.md5
            try:
                if not view.exists():  # else it was opened before
                    view_version(self.project, record, view)
            except CorruptVersionError:
                continue  # its rows are made again; the audit reports the damage
            yield view

    def recorded_version(self, digest: Digest) -> Path:
        """Opens a view of the version with a digest."""
        for record in self.project.ledger.find_asset(self.stage.name):
            if record.output.digest == str(digest):
                view = self.work / "recorded" / digest.short
                view_version(self.project, record, view)
                return view
        raise MissingInputError(
            f"{self.stage.name}: the ledger has no version {digest}.\n"
            "  remedy: name one that `rlaif releases` lists, or copy lineage/ from the machine that has it"
        )
