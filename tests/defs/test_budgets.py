"""What one budget means: one run and one judge, all assets of the run together."""

from dagster import DagsterInstance

from rlaif_dagster.graph.stage import StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.serving.limits import Spend
from rlaif_dagster.serving.settings import BudgetSettings
from tests.defs.toy_runs import make_graph, run_graph
from tests.plain_stages import change

CALL = Spend(calls=1, tokens=10)


def test_the_assets_of_a_run_draw_on_one_budget_for_each_judge_and_the_next_run_on_a_new_one(
    project: Project, instance: DagsterInstance
) -> None:
    """Each asset wants two calls of either judge; a run may make three of each."""
    granted: list[tuple[str, str, int]] = []

    def ask(context: StageContext) -> StageResult:
        for judge in ("one", "other"):
            budget = context.services.find_budget(judge, BudgetSettings(calls=3))
            granted.append((context.attempt, judge, sum(budget.reserve(CALL) for _ in range(2))))
        (context.output / "text").write_text(str(len(granted)))
        return StageResult()

    for setting in ("first run", "second run"):
        graph = make_graph(a=setting)
        graph |= {name: change(graph[name], compute=ask) for name in ("a", "b")}
        assert run_graph(instance, project, graph, ["a", "b"]).success
    assert [number for _, _, number in granted] == [2, 2, 1, 1, 2, 2, 1, 1]
