"""Recipes stay what they were: a version made by earlier code is found again, so an upgrade computes nothing anew.

`recipes_of_before.json` holds a digest of the recipe's parts of every stage, in a variety of projects and with every
field of every input flipped; for the default project it holds the settings themselves. A recipe that has to change
changes on purpose, with its stage's `code_version`: then `python -m tests.graph.test_recipes_of_before`.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.projects import make_recorded
from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.lineage.reuse import make_recipe
from rlaif_dagster.project_template import TEMPLATE_ROOT
from tests.graph.every_graph import read_every_graph

GOLDEN = Path(__file__).with_name("recipes_of_before.json")


def describe(stage: Stage) -> dict[str, Any]:
    """The parts of a recipe, but for the versions of inputs and libraries."""
    recipe = make_recipe(stage, {})
    return {
        "code_version": recipe.code_version,
        "settings": recipe.settings,
        "inputs": list(stage.inputs),
        "engine": [name if "." not in name else [name, value] for name, value in recipe.engine.items()],
    }


def describe_graph(graph: Graph) -> dict[str, dict[str, Any]]:
    return {name: describe(stage) for name, stage in graph.items()}


def digest_values(values: dict[str, Any]) -> dict[str, str]:
    return {name: Digest.from_json(value).short for name, value in values.items()}


def describe_all() -> dict[str, Any]:
    default = describe_graph(build_graph(ProjectInputs.read(TEMPLATE_ROOT)))
    with TemporaryDirectory() as scratch:
        make_recorded(Path(scratch) / "project")
        example = build_graph(ProjectInputs.read(Path(scratch) / "project"))
    graphs = {"examples/recorded": example, **read_every_graph().projects}
    return {
        "settings of the default": {name: parts["settings"] for name, parts in default.items()},
        "projects": {
            "default": digest_values(default),
            **{name: digest_values(describe_graph(graph)) for name, graph in graphs.items()},
        },
        "flips": digest_values({flip.name: describe_graph(flip.graph) for flip in read_every_graph().flips}),
    }


def test_every_recipe_is_that_of_the_version_before() -> None:
    golden, now = json.loads(GOLDEN.read_text()), describe_all()
    assert now["settings of the default"] == golden["settings of the default"]
    assert now["projects"] == golden["projects"]
    assert now["flips"] == golden["flips"]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(describe_all(), indent=1) + "\n")
