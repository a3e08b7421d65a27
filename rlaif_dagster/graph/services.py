"""What a stage asks of the process that runs it, during computation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.budgets import Budgets
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings


class Services(Protocol):
    """The calls that a stage makes. A process that computes a stage elsewhere answers these calls there."""

    @property
    def progress(self) -> Progress:
        """Called with the progress."""

    def find_budget(self, judge: str, settings: BudgetSettings) -> Budget:
        """Returns what the run may spend on a served judge, over all assets."""

    def earlier_versions(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields folders of earlier versions whose rows may be reused, newest first.

        Args:
            of_any_code: Yield versions whatever code and libraries made them: for rows whose keys say all that
                matters.
        """

    def recorded_version(self, digest: Digest) -> Path:
        """Returns the folder of this asset's version with a digest.

        Raises:
            MissingInputError: If there is no such version.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHistory:
    """The services of a stage without earlier versions."""

    progress: Progress = ignore_progress
    budgets: Budgets = field(default_factory=Budgets)

    def find_budget(self, judge: str, settings: BudgetSettings) -> Budget:
        """Returns a budget for this computation only."""
        return self.budgets.of_judge(judge, settings)

    def earlier_versions(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields nothing."""
        del of_any_code
        return iter(())

    def recorded_version(self, digest: Digest) -> Path:
        """Raises: there is no version."""
        raise LookupError(f"there are no recorded versions, so none with the digest {digest}")
