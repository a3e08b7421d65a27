"""What each asset would be made by, on the inputs as they are now."""

from collections.abc import Set

from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import is_fresh, make_recipe


def find_stale(project: Project, graph: Graph) -> tuple[str, ...]:
    """The assets that are not fresh, and all that are made from them, upstream first."""
    stale: list[str] = []
    for name, stage in graph.items():
        if not set(stage.inputs).isdisjoint(stale) or not is_fresh(project, stage):
            stale.append(name)
    return tuple(stale)


def find_wanted_recipes(project: Project, graph: Graph, stale: Set[str]) -> dict[str, str]:
    """The digest of the recipe that each asset wants now, by name, upstream first.

    A fresh asset wants the recipe that its newest version was made by. What a stale input will be is not known before
    it is made, so the recipe that it wants stands for it.
    """
    heads = project.ledger.find_heads()
    wanted: dict[str, str] = {}
    for name, stage in graph.items():
        if name not in stale:
            wanted[name] = heads[name].recipe
            continue
        inputs = {
            parent: wanted[parent] if parent in stale else heads[parent].output.digest
            for parent in sorted(stage.inputs)
        }
        recipe = make_recipe(stage, {}).model_copy(update={"inputs": inputs})
        wanted[name] = str(recipe.digest)
    return wanted
