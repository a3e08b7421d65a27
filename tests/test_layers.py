"""The layers point one way (see docs/architecture.md)."""

import ast
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rlaif_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    # values, and the two places where bytes enter: files and pages
    *(
        "errors",
        "names",
        "former_names",
        "digest",
        "seeds",
        "progress",
        "processes",
        "removal",
        "extras",
        "registry",
        "pages",
        "tables",
        "drawing",
        "reader",
        "plugins",
    ),
    # what knows nothing of feedback: statistics, a chat client, the embedded default's world
    *("stats", "serving", "world"),
    # models and prompts
    *("numerics", "weights", "models", "decoding", "prompts"),
    # feedback, learning, measuring
    *(
        "judging",
        "preferences",
        "judge_quality",
        "generation",
        "training",
        "revising",
        "evaluation",
        "rounds",
    ),
    *("embedded", "cards"),
    # a project: its files, its graph, its versions, its history, and what people use
    *("project_template", "inputs", "graph", "versioning", "lineage", "defs", "definitions", "cli"),
)
"""The packages and modules from the bottom up: each imports only those before it."""


@cache
def list_imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def find_imports(path: Path, modules: Collection[str] = ()) -> set[str]:
    """What a module imports: the module named, or the submodule where one of `modules` is imported by name."""
    imports: set[str] = set()
    for node in list_imports(path):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imports.update(names & set(modules) or {node.module})
            if node.module == "rlaif_dagster":
                imports.update(names)
    return imports


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_module(path: Path) -> str:
    return ".".join(("rlaif_dagster", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {package_of(path) for path in MODULES} - {"__init__"}
    assert packages == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_packages_below_it(path: Path) -> None:
    package = package_of(path)
    below = ORDER[: ORDER.index(package)] if package in ORDER else ()
    used = {name.split(".")[1] for name in find_imports(path) if name.startswith("rlaif_dagster.")}
    assert used - {package} <= set(below)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for types alone count as well."""
    modules = {name_module(path): path for path in MODULES}
    graph = {name: find_imports(path, modules) & modules.keys() for name, path in modules.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("dagster", {"defs", "definitions"}),
        ("antlr4", {"defs"}),
        ("dvc", {"versioning"}),
        ("dvc_data", {"versioning"}),
    ],
)
def test_a_framework_stays_in_its_package(library: str, packages: set[str]) -> None:
    users = {
        package_of(path)
        for path in MODULES
        if any(name.split(".")[0] == library for name in find_imports(path))
    }
    assert users <= packages


def test_the_command_and_the_plan_of_a_run_load_no_heavy_library() -> None:
    code = """
import sys
import rlaif_dagster.cli.main, rlaif_dagster.lineage.reuse
heavy = {"torch", "transformers", "trl", "datasets", "pandas", "matplotlib", "dagster"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
