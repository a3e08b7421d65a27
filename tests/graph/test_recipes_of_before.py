"""Recipes stay what they were: a version made by earlier code is found again, so an upgrade computes nothing anew.

`recipes_of_before.json` holds a digest of the recipe's parts of every stage, in a variety of projects and with every
field of every input flipped; for the default project it holds the settings themselves. A recipe that has to change
changes on purpose, with its stage's `code_version`: then `python -m tests.graph.test_recipes_of_before`.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.lineage.recall import make_recipe
from rlaif_dagster.project_template import TEMPLATE_ROOT
from tests.conftest import REPOSITORY
from tests.lineage.input_fields import CASES, PROJECTS, write_files, write_project

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


def describe_graph(root: Path) -> dict[str, dict[str, Any]]:
    return {name: describe(stage) for name, stage in build_graph(ProjectInputs.read(root)).items()}


def digest_values(values: dict[str, Any]) -> dict[str, str]:
    return {name: Digest.from_json(value).short for name, value in values.items()}


def describe_all() -> dict[str, Any]:
    default = describe_graph(TEMPLATE_ROOT)
    projects = {"default": digest_values(default)}
    flips = {}
    with TemporaryDirectory() as scratch:
        example = Path(scratch) / "example"
        for source in (TEMPLATE_ROOT, REPOSITORY / "examples" / "recorded"):
            shutil.copytree(source / "inputs", example / "inputs", dirs_exist_ok=True)
        projects["examples/recorded"] = digest_values(describe_graph(example))
        for name in PROJECTS:
            folder = Path(scratch) / name
            folder.mkdir()
            write_project(folder, name)
            projects[name] = digest_values(describe_graph(folder))
        for name, place, content in CASES:
            write_files(Path(scratch) / name, {place.file: content})
            flips[f"{place.field} in {name}"] = describe_graph(Path(scratch) / name)
            write_files(Path(scratch) / name, PROJECTS[name])
    return {
        "settings of the default": {name: parts["settings"] for name, parts in default.items()},
        "projects": projects,
        "flips": digest_values(flips),
    }


def test_every_recipe_is_that_of_the_version_before() -> None:
    golden, now = json.loads(GOLDEN.read_text()), describe_all()
    assert now["settings of the default"] == golden["settings of the default"]
    assert now["projects"] == golden["projects"]
    assert now["flips"] == golden["flips"]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(describe_all(), indent=1) + "\n")
