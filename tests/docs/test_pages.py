"""What the pages say of the graph, the packages, the commands and the messages is so; links lead somewhere."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from rlaif_dagster import names
from rlaif_dagster.cli.main import app
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.specs import list_marks
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging import opening
from rlaif_dagster.judging.templates import PACKAGED_TEMPLATES
from rlaif_dagster.lineage.project import PROJECT_VARIABLE
from rlaif_dagster.lineage.record import Recipe
from rlaif_dagster.preferences import DROP_REASONS
from tests.docs.conftest import WriteProject
from tests.docs.pages import (
    DOCS,
    PAGES,
    REPOSITORY,
    read_examples,
    read_page,
    read_references,
    read_table,
    read_tables,
)
from tests.test_layers import ORDER

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@pytest.fixture
def graph(write_project: WriteProject) -> Graph:
    """The graph of a project that samples and judges; its models are never opened."""
    root = write_project(
        [
            *read_examples("inputs.md", below="Example: recorded data"),
            *read_examples("inputs.md", below="Example: a policy in a local folder"),
            *read_examples("inputs.md", below="Example: a real judge"),
        ]
    )
    return build_graph(ProjectInputs.read(root))


def test_the_table_of_assets_is_the_graph(graph: Graph) -> None:
    checks = "checks (blocking in bold)"
    told = [
        (
            row["asset"],
            _CODE.findall(row["reads"]),
            [(name, f"**`{name}`**" in row[checks]) for name in _CODE.findall(row[checks])],
        )
        for row in read_table("architecture.md", below="The graph").rows
    ]
    assert told == [
        (
            f"`{stage.name}`",
            list(stage.inputs),
            [(check.name, check.blocking) for check in stage.governance.checks],
        )
        for stage in graph.values()
    ]


def test_the_table_of_assets_has_the_settings_of_each_recipe(graph: Graph) -> None:
    table = read_table("architecture.md", below="The graph")
    told = [_CODE.findall(cell) for cell in table.cells("settings: identity fields of its [spec](#specs)")]
    assert told == [
        [
            name
            for name, mark in list_marks(stage.identity.spec).items()
            if mark.is_identity and mark.said_by == "settings"
        ]
        for stage in graph.values()
    ]


@pytest.mark.parametrize(
    ("heading", "column", "holder"),
    [("What makes a recipe", "part", Recipe.model_fields), ("Layers", "part", Stage.__dataclass_fields__)],
)
def test_the_parts_that_are_told_are_those_of_the_code(
    heading: str, column: str, holder: Mapping[str, object]
) -> None:
    tables = [table for table in read_tables("architecture.md", below=heading) if column in table.columns]
    assert [_CODE.findall(cell)[0] for table in tables for cell in table.cells(column)] == list(holder)


def test_the_files_that_hold_decisions_are_there_and_so_is_what_writes_them() -> None:
    (table,) = [
        table
        for table in read_tables("architecture.md", below="What makes a recipe")
        if "made by" in table.columns
    ]
    for file, command in zip(table.cells("file"), table.cells("made by"), strict=True):
        assert (REPOSITORY / file.strip("`")).is_file()
        module = command.strip("`").removeprefix("python -m ")
        assert (REPOSITORY / f"{module.replace('.', '/')}.py").is_file()


def test_every_library_of_a_recipe_is_named(graph: Graph) -> None:
    named = set(_CODE.findall(read_page("architecture.md", below="What makes a recipe")))
    assert {library for stage in graph.values() for library in stage.identity.engine} <= named


def test_the_table_of_files_has_every_asset_and_every_file(graph: Graph) -> None:
    table = read_table("formats.md", below="Assets")
    assert table.cells("asset") == [f"`{name}`" for name in graph]

    files = {
        names.CONSTITUTION_JSON,
        names.JUDGE_JSON,
        names.JUDGE_TEMPLATE,
        f"{opening.JUDGE_MODEL}/",
        names.JUDGE_VERDICTS,
        names.PROMPTS_TABLE,
        names.RESPONSES_TABLE,
        names.JUDGEMENTS_TABLE,
        names.JUDGE_AUDIT_JSON,
        names.CANARY_JSON,
        names.PREFERENCES_TABLE,
        names.SUMMARY_JSON,
        names.TRAINING_JSON,
        names.METRICS_JSON,
        names.COMPARISONS_TABLE,
        names.REPORT_HTML,
        names.INPUTS_JSON,
        names.RELEASE_JSON,
    }
    assert files <= set(_CODE.findall(" ".join(table.cells("files"))))


def test_every_reason_to_leave_out_a_pair_is_named() -> None:
    assert set(DROP_REASONS) <= set(_CODE.findall(read_page("formats.md", below="Tables")))


def test_every_packaged_template_is_in_the_table() -> None:
    told = read_table("judges.md", below="Prompts and how replies are read").cells("template")
    assert told == ["`compact`", "`pairwise`", "`reasoned`", "`rating`", "`reasoned_rating`"]
    critics = {"`critique`", "`revision`"}  # they stand in inputs.md, in the section `revision`
    assert {*told, *critics} == {f"`{path.stem}`" for path in PACKAGED_TEMPLATES.glob("*.yaml")}
    assert critics <= {
        cell
        for table in read_references("inputs.md")
        if "default" in table.columns
        for cell in table.cells("default")
    }


def test_the_table_of_packages_has_their_order() -> None:
    table = read_table("architecture.md", below="Layers")
    assert tuple(_CODE.findall(" ".join(table.cells("package")))) == ORDER


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in _LINK.findall(re.sub(r"```.*?```", "", read_page(page), flags=re.DOTALL)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (DOCS / page).parent / file if file else DOCS / page
        assert path.exists(), target
        assert not anchor or anchor in find_anchors(path), target


def find_anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_place_on_somebodys_machine(page: str) -> None:
    assert not re.findall(r"(?<![\w.`<])/(?:work|tmp|home|root|opt|Users)/", read_page(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_rlaif_command_on_a_page_exists(page: str) -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:`|\$ |bin/)rlaif ([a-z-]+)", read_page(page)))
    assert named <= known


def test_the_environment_variable_of_the_project_is_named() -> None:
    assert PROJECT_VARIABLE in read_page("operating.md")


@cache
def read_package_texts() -> str:
    """Every text of the package's code, `…` in the place of values that are put in."""
    texts = []
    for path in sorted((REPOSITORY / "rlaif_dagster").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


@pytest.mark.slow
def test_every_message_in_the_troubleshooting_table_is_one_of_the_packages() -> None:
    """Messages of other libraries are marked as such below."""
    foreign = (
        "input should be",
        "Unable to extract tag",
        "TypeError: ord()",
        "Could not deserialize",
        "$DAGSTER_HOME",
    )
    for cell in read_table("operating.md", below="Troubleshooting").cells("message"):
        for message in _CODE.findall(cell)[:1]:
            assert message.startswith(foreign) or message in read_package_texts(), message


def test_every_decision_tells_its_context_effects_and_risks() -> None:
    decisions = [page for page in PAGES if page.startswith("decisions/")]
    assert [page.removeprefix("decisions/")[:4] for page in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    for page in decisions:
        headings = re.findall(r"^## (.*)$", read_page(page), re.MULTILINE)
        assert headings == ["Context", "Decision", "Effects", "Risks left"], page


def test_no_reference_table_is_told_twice_on_a_page() -> None:
    for page in PAGES:
        described = [table.source for table in read_references(page)]
        assert len(described) == len(set(described)), page
