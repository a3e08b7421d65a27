"""One name, one thing: in code, and for assets and their files."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif_dagster import names
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.project_template import TEMPLATE_ROOT
from tests.graph.every_graph import read_every_graph

PACKAGE = Path(__file__).parent.parent / "rlaif_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))

SHARED = {
    "main": "where a program starts: the command, and the script that makes the embedded models",
    "NUM_DECIMALS": "both judges round scores to it, each by what its own arithmetic can tell apart",
    "COMMAND": "each module of cli/commands has one, by which the command is found",
    "METHOD": "each module of training/methods has one, by which the policy method is found",
    "SETTINGS": "each module of training/methods and generation/samplers names its settings so",
}
"""Public names that stand in several modules, and why."""

OTHER_MEANINGS = {
    "judge": "a source of verdicts, a column of verdicts, a section of pipeline.yaml, a model's name",
    "reward_model": "a source of verdicts",
    "prompts": "a section of pipeline.yaml",
    "constitution": "a field of what a release names",
    "evaluation": "a section of pipeline.yaml, a field of release.json",
    "plateau": "a section of pipeline.yaml",
}
"""Names of assets that are also words for something else, where the word is written out."""


def read_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def list_public_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found = [name]
            case ast.Assign(targets=targets):
                found = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case _:
                found = []
        yield from (name for name in found if not name.startswith("_"))


def find_definitions() -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in MODULES:
        for name in set(list_public_names(read_tree(path))):
            found[name].append(str(path.relative_to(PACKAGE)))
    return found


def test_no_public_name_has_two_meanings() -> None:
    twice = {name: places for name, places in find_definitions().items() if len(places) > 1}
    twice = {name: places for name, places in twice.items() if name not in SHARED and name != "__all__"}
    assert not twice


def test_no_exemption_is_left_over() -> None:
    definitions = find_definitions()
    assert [name for name in SHARED if len(definitions.get(name, ())) < 2] == []


def test_every_asset_of_every_graph_is_named_in_one_place() -> None:
    graphs = [build_graph(ProjectInputs.read(TEMPLATE_ROOT)), *read_every_graph().projects.values()]
    roles = {asset.rpartition("/")[2] for graph in graphs for asset in graph}
    assert roles == set(names.ASSETS)


def list_texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """String literals of code: without docstrings and without the values that a type may have."""
    types = {
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"
        for text in ast.walk(node.slice)
    }
    statements = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in types | statements:
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_assets_are_named_by_constants(path: Path) -> None:
    if path == PACKAGE / "names.py":
        return
    wanted = set(names.ASSETS) - OTHER_MEANINGS.keys()
    assert [(text.lineno, text.value) for text in list_texts(read_tree(path)) if text.value in wanted] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_stage_reads_is_named_by_constants(path: Path) -> None:
    """Also where the asset's name is a word for something else."""
    found: list[tuple[int, object]] = []
    for node in ast.walk(read_tree(path)):
        match node:
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(name))):
                by_asset = ast.unparse(owner).rpartition(".")[2] in ("inputs", "folders", "heads", "digests")
                found += [(node.lineno, name)] if by_asset and name in names.ASSETS else []
            case ast.keyword(arg="inputs", value=ast.Tuple(elts=elements)):
                found += [(e.lineno, e.value) for e in elements if isinstance(e, ast.Constant)]
            case ast.Call(func=ast.Name(id="Identity"), keywords=keywords):
                written = [k.value for k in keywords if k.arg == "name"]
                found += [(e.lineno, e.value) for e in written if isinstance(e, ast.Constant)]
            case _:
                pass
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_of_assets_are_named_by_constants(path: Path) -> None:
    """A README of a project and a report of the command line are other files."""
    if path == PACKAGE / "names.py":
        return
    files = {
        value
        for name, value in vars(names).items()
        if name.endswith(("_JSON", "_TABLE", "_HTML")) and isinstance(value, str)
    }
    assert [(text.lineno, text.value) for text in list_texts(read_tree(path)) if text.value in files] == []
