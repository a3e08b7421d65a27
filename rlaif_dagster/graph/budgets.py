"""Budgets of one run for served judges."""

from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings


class Budgets:
    """One budget for each judge, shared by all assets of a run that ask it."""

    def __init__(self) -> None:
        """Starts with nothing spent."""
        self._by_judge: dict[str, Budget] = {}

    def of_judge(self, name: str, settings: BudgetSettings) -> Budget:
        """Returns the budget of a judge; the settings of the first call count."""
        return self._by_judge.setdefault(name, Budget(settings))
