"""Flip every field of every input, one at a time: exactly the assets that depend on it become stale.

`stale_assets.json` says which, a line for each field. A new field that cannot be flipped, that has no line, or that
changes nothing and is not declared in `WITHOUT_EFFECT`, fails here. Where the lines change on purpose:
`python -m tests.lineage.test_every_field`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import BaseModel

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store
from tests.docs.reference import reach_models
from tests.lineage.input_fields import (
    CASES,
    PROJECTS,
    SCHEMAS,
    WITHOUT_EFFECT,
    Place,
    has_choice,
    list_members,
    read_model,
    set_value,
    write_files,
    write_project,
)
from tests.plain_stages import change

STALE = Path(__file__).with_name("stale_assets.json")


def build_toy_graph(project: Project) -> Graph:
    """The project's graph, each stage writing down its recipe instead of doing its work."""
    return {name: write_down(stage) for name, stage in build_graph(project.read_inputs()).items()}


def write_down(stage: Stage) -> Stage:
    def compute(context: StageContext) -> StageResult:
        given = {name: str(digest) for name, digest in context.digests.items()}
        (context.output / "given").write_bytes(
            canonical_json({"inputs": given, "settings": stage.identity.settings})
        )
        return StageResult()

    return change(stage, compute=compute, checks=(), requires={}, compare=None)


def make_projects(scratch: Path) -> dict[str, Project]:
    """The projects by name, each brought up to date."""
    opened = {}
    for name in PROJECTS:
        folder = scratch / name
        folder.mkdir()
        write_project(folder, name)
        init_store(folder)
        opened[name] = Project.open(folder)
        for stage in build_toy_graph(opened[name]).values():
            materialise(opened[name], stage, progress=ignore_progress)
    return opened


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    return make_projects(tmp_path_factory.mktemp("projects"))


def plan_with(project: Project, name: str, files: Mapping[str, Any]) -> Plan:
    write_files(project.root, files)
    try:
        return make_plan(project, build_toy_graph(project), priced=False)
    finally:
        write_files(project.root, PROJECTS[name])


def name_case(name: str, place: Place) -> str:
    return f"{place.field} in {name}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place", "content"), CASES, ids=[name_case(name, place) for name, place, _ in CASES]
)
def test_a_flipped_field_makes_exactly_those_assets_stale_that_depend_on_it(
    name: str, place: Place, content: dict[str, Any], projects: dict[str, Project]
) -> None:
    plan = plan_with(projects[name], name, {place.file: content})
    assert all(item.causes for item in plan.stale)
    stale = [item.asset for item in plan.stale]
    assert (not stale) == (place.field in WITHOUT_EFFECT), (
        f"{place.field}: mark what it becomes in a spec as identity, or declare with the reason that it has no effect"
    )
    assert stale == json.loads(STALE.read_text()).get(name_case(name, place))


def test_no_line_is_left_of_a_field_that_is_gone() -> None:
    assert list(json.loads(STALE.read_text())) == [name_case(name, place) for name, place, _ in CASES]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_files_that_say_the_same_make_nothing_stale(name: str, projects: dict[str, Project]) -> None:
    """Written out with every default, and written again as they were."""
    spelled_out = {file: read_model(name, file).model_dump(mode="json") for file in SCHEMAS}
    spelled_out["template.yaml"] = PROJECTS[name]["template.yaml"]
    assert plan_with(projects[name], name, spelled_out).stale == ()
    assert plan_with(projects[name], name, PROJECTS[name]).stale == ()


def test_every_field_of_every_schema_is_flipped() -> None:
    """A field that no project here can flip is named: use it in one of PROJECTS, or say in NAMES what else it names."""
    models = {model for schema in SCHEMAS.values() for model in reach_models(schema)}
    fields = {
        f"{model.__name__}.{name}"
        for model in models
        for name, info in model.model_fields.items()
        if has_choice(Place(file="", path=(), field="", annotation=info.annotation, value=info.get_default()))
        and not any(issubclass(kind, BaseModel) for kind in list_members(info.annotation))
    }
    # What is written decides where a template may stand: another value is refused there.
    assert fields - {"_TemplateFile.writes"} == {place.field for _, place, _ in CASES}
    assert fields >= set(WITHOUT_EFFECT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "field", "new"),
    [
        ("recorded", "pipeline.yaml: pairing.max_pairs_per_prompt", 2),  # the pairs are those of the file
        ("hub", "judge.yaml: temperature", 0.7),  # probabilities are read without drawing
        ("hub", "judge.yaml: max_new_tokens", 7),  # nothing is written
    ],
)
def test_a_field_that_is_not_in_use_makes_nothing_stale(
    name: str, field: str, new: object, projects: dict[str, Project]
) -> None:
    file, path = field.split(": ")
    content = read_model(name, file).model_dump(mode="json")
    set_value(content, tuple(path.split(".")), new)
    assert plan_with(projects[name], name, {file: content}).stale == ()


def write_stale_assets() -> None:
    with TemporaryDirectory() as scratch:
        opened = make_projects(Path(scratch))
        lines = [
            f"{json.dumps(name_case(name, place))}: "
            + json.dumps([item.asset for item in plan_with(opened[name], name, {place.file: content}).stale])
            for name, place, content in CASES
        ]
    STALE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write_stale_assets()
