"""Computes the recipe that each asset needs with the current inputs."""

from collections.abc import Collection, Mapping

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import make_recipe


def find_wanted_recipes(
    graph: Graph, heads: Mapping[str, MaterialisationRecord], stale: Collection[str]
) -> dict[str, str]:
    """Computes the digest of the recipe that each asset needs, by name, upstream first.

    A fresh asset needs the recipe that made its newest version; a stale one never does. The next version of a stale
    input is not known yet, so the recipe that it needs is used instead.

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
        if head is not None and head.recipe == wanted[name]:  # made by this recipe, but has to be made again
            wanted[name] = str(Digest.from_json({"again": head.record_id}))
    return wanted


def digest_graph(graph: Graph) -> Digest:
    """Computes the identity of inputs, code and libraries, whatever has been made from them so far."""
    overrides = {override.key for stage in graph.values() for override in stage.governance.overrides}
    return Digest.from_json([find_wanted_recipes(graph, {}, graph), sorted(overrides)])
