"""What one run may spend on served judges."""

from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings


class Budgets:
    """A budget for each judge, which all assets of a run that ask it draw on."""

    def __init__(self) -> None:
        """Nothing is spent."""
        self._by_judge: dict[str, Budget] = {}

    def of_judge(self, name: str, settings: BudgetSettings) -> Budget:
        """The budget of a judge; the settings count when it is first asked for."""
        return self._by_judge.setdefault(name, Budget(settings))
