"""The recipe that each asset wants on the inputs as they are now."""

from collections.abc import Collection, Mapping

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.recall import make_recipe
from rlaif_dagster.lineage.record import MaterialisationRecord


def find_wanted_recipes(
    graph: Graph, heads: Mapping[str, MaterialisationRecord], stale: Collection[str]
) -> dict[str, str]:
    """The digest of the recipe that each asset wants, by name, upstream first.

    A fresh asset wants the recipe that its newest version was made by; a stale one never does. What a stale input will
    be is not known before it is made, so the recipe that it wants stands for it.

    Args:
        graph: The graph of the inputs.
        heads: The newest record of each asset, of the fresh ones at least.
        stale: The stale assets.
    """
    wanted: dict[str, str] = {}
    for name, stage in graph.items():
        head = heads.get(name)
        if head is not None and name not in stale:
            wanted[name] = head.recipe
            continue
        inputs = {
            parent: wanted[parent] if parent in stale else heads[parent].output.digest
            for parent in stage.inputs
        }
        wanted[name] = str(make_recipe(stage, inputs).digest)
        if head is not None and head.recipe == wanted[name]:  # made by this recipe, and to be made again
            wanted[name] = str(Digest.from_json({"again": head.record_id}))
    return wanted


def digest_graph(graph: Graph) -> Digest:
    """The identity of what people decided, of code and of libraries, whatever has been made from them so far."""
    overrides = {override.key for stage in graph.values() for override in stage.governance.overrides}
    return Digest.from_json([find_wanted_recipes(graph, {}, graph), sorted(overrides)])
