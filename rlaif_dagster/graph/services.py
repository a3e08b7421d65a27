"""What a stage asks of the process that runs it, while it computes."""

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
    """All that a stage calls; what computes a stage elsewhere answers these calls there."""

    @property
    def progress(self) -> Progress:
        """Told how far the work is."""

    def find_budget(self, judge: str, settings: BudgetSettings) -> Budget:
        """What the run may spend on a served judge, all of its assets together."""

    def earlier_versions(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields folders of earlier versions whose rows may be reused, newest first.

        Args:
            of_any_code: Yield versions whatever code and libraries made them: for rows whose keys say all that
                matters.
        """

    def recorded_version(self, digest: Digest) -> Path:
        """Gives the folder of the version of this asset that has a digest.

        Raises:
            MissingInputError: If there is none.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHistory:
    """The services of a stage that knows no earlier version."""

    progress: Progress = ignore_progress
    budgets: Budgets = field(default_factory=Budgets)

    def find_budget(self, judge: str, settings: BudgetSettings) -> Budget:
        """A budget of this computation's own."""
        return self.budgets.of_judge(judge, settings)

    def earlier_versions(self, *, of_any_code: bool = False) -> Iterator[Path]:
        """Yields nothing."""
        del of_any_code
        return iter(())

    def recorded_version(self, digest: Digest) -> Path:
        """Gives nothing."""
        raise LookupError(f"no version is known, and so not {digest}")
