"""The layers point one way (see docs/architecture.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rlaif_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))

STAGES = (
    "prompts",
    "models",
    "weights",
    "numerics",
    "generation",
    "judging",
    "revising",
    "preferences",
    "training",
    "evaluation",
    "rounds",
    "embedded",
    "cards",
)
ABOVE = {
    "errors": (),
    "extras": ("errors",),
    "digest": (),
    "seeds": ("digest",),
    "progress": (),
    "processes": (),
    "removal": ("errors",),
    "tables": ("errors",),
    "pages": (),
    **dict.fromkeys(
        STAGES,
        (
            *STAGES,
            "inputs",
            "errors",
            "digest",
            "seeds",
            "progress",
            "processes",
            "removal",
            "tables",
            "pages",
        ),
    ),
    "inputs": (*STAGES, "errors", "digest"),
    "graph": (*STAGES, "inputs", "errors", "digest", "seeds", "progress", "tables"),
    "versioning": ("errors", "digest", "progress", "removal"),
    "project_template": (),
    "lineage": (
        *STAGES,
        "graph",
        "inputs",
        "versioning",
        "errors",
        "extras",
        "digest",
        "progress",
        "removal",
        "tables",
        "pages",
    ),
    "defs": (
        "lineage",
        "versioning",
        "graph",
        "inputs",
        "project_template",
        "errors",
        "progress",
        "processes",
        "digest",
    ),
    "definitions": ("defs", "lineage"),
}
"""What each room may import of this package, beside itself; `cli` may import everything."""


def find_imports(path: Path) -> set[str]:
    imports: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports.add(node.module)
    return imports


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room in ("cli", "__init__"):
        return
    used = {name.split(".")[1] for name in find_imports(path) if name.startswith("rlaif_dagster.")}
    assert used - {room} <= set(ABOVE[room])


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("dagster", {"defs", "definitions"}),
        ("antlr4", {"defs"}),
        ("dvc", {"versioning"}),
        ("dvc_data", {"versioning"}),
    ],
)
def test_a_framework_stays_in_its_room(library: str, rooms: set[str]) -> None:
    users = {
        room_of(path) for path in MODULES if any(name.split(".")[0] == library for name in find_imports(path))
    }
    assert users <= rooms


def test_the_command_and_the_plan_of_a_run_load_no_heavy_library() -> None:
    code = """
import sys
import rlaif_dagster.cli.main, rlaif_dagster.lineage.recall
heavy = {"torch", "transformers", "trl", "datasets", "pandas", "matplotlib", "dagster"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
