"""After an upgrade: what an earlier release made is reused where it stands, and everybody is told why."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.stage import Stage, StageContext
from rlaif_dagster.graph.upgrades import FORMER_RECIPES, FormerRecipe, Holds, Keeps, always
from rlaif_dagster.lineage import reuse
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import MaterialiseResult, find_reusable, make_recipe
from rlaif_dagster.lineage.services import find_earlier
from tests.lineage.audited_projects import audit, name_findings
from tests.lineage.conftest import MakeStage
from tests.plain_stages import change

Run = Callable[[Stage], MaterialiseResult]
AddStep = Callable[..., None]


@pytest.fixture
def add_step(monkeypatch: pytest.MonkeyPatch) -> AddStep:
    """Adds a step back from the recipes of asset `a`."""

    def add(
        before: str = "1",
        now: str = "2",
        *,
        keeps: Keeps = "version",
        holds: Holds = always,
        renamed: dict[str, str] | None = None,
    ) -> None:
        step = FormerRecipe(
            release="0.1.0", before=before, now=now, keeps=keeps, holds=holds, renamed=renamed or {}
        )
        monkeypatch.setitem(FORMER_RECIPES, "a", (*FORMER_RECIPES.get("a", ()), step))

    return add


def upgrade(stage: Stage, code_version: str = "2") -> Stage:
    return change(stage, code_version=code_version)


def test_a_version_of_a_former_recipe_is_reused_once_and_its_record_says_so(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project, add_step: AddStep
) -> None:
    add_step()
    old = run(make_stage("a", "x")).record
    new = run(upgrade(make_stage("a", "x")))
    assert (new.status, computed) == ("reused", ["a"])
    assert new.record.recipe == str(make_recipe(upgrade(make_stage("a", "x")), {}).digest)
    assert (new.record.former_recipe, new.record.reused_from) == (old.recipe, old.record_id)
    assert new.record.output == old.output
    assert run(upgrade(make_stage("a", "x"))).record == new.record
    assert len(project.ledger.records()) == 2
    assert audit(project.root).findings == ()


def test_what_is_reused_by_a_former_recipe_is_reused_again_after_an_edit_is_undone(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project, add_step: AddStep
) -> None:
    """The record of today's recipe is found first, and still names the recipe by which the bytes were made."""
    add_step()
    old = run(make_stage("a", "x")).record
    for setting in ("x", "y", "x"):
        last = run(upgrade(make_stage("a", setting))).record
    assert computed == ["a", "a"]
    assert last.former_recipe == old.recipe
    assert audit(project.root).findings == ()


@pytest.mark.parametrize("other", ["settings", "engine", "code_version"])
def test_a_recipe_that_differs_in_anything_else_is_computed(
    other: str, make_stage: MakeStage, run: Run, add_step: AddStep
) -> None:
    add_step()
    run(make_stage("a", "x"))
    values = {"settings": {"setting": "y"}, "engine": ("pyarrow", "numpy"), "code_version": "3"}
    stage = change(upgrade(make_stage("a", "x")), **{other: values[other]})
    assert run(stage).status == "computed"


def test_other_inputs_are_computed(make_stage: MakeStage, run: Run, add_step: AddStep) -> None:
    add_step()
    for text in ("x", "y"):
        run(make_stage("parent", text))
        outcome = run(upgrade(make_stage("a", "x", ("parent",)), "1" if text == "x" else "2"))
    assert outcome.status == "computed"


def test_a_renamed_setting_is_reused_and_told_in_the_plan(
    make_stage: MakeStage, run: Run, project: Project, add_step: AddStep
) -> None:
    """No code changed: the step leads from the code version to itself."""
    add_step("1", "1", renamed={"setting": "name"})
    run(make_stage("a", "x"))
    stage = change(make_stage("a", "x"), settings={"name": "x"})
    (planned,) = make_plan(project, {"a": stage}).assets
    assert planned.status == "reused"
    assert [(one.path, one.old, one.new) for one in planned.causes] == [("setting of a", "setting", "name")]
    edited = change(make_stage("a", "x"), settings={"name": "y"})
    (planned,) = make_plan(project, {"a": edited}).assets
    assert planned.status == "computed"
    assert [(one.path, one.old, one.new) for one in planned.causes] == [
        ("inputs/pipeline.yaml: name", "x", "y"),
        ("setting of a", "setting", "name"),
    ]
    assert run(stage).status == "reused"


def test_steps_are_taken_one_after_the_other(
    make_stage: MakeStage, run: Run, project: Project, add_step: AddStep
) -> None:
    add_step("2", "3", renamed={"name": "title"})
    add_step("1", "2", renamed={"setting": "name"})
    run(make_stage("a", "x"))
    stage = upgrade(change(make_stage("a", "x"), settings={"title": "x"}), "3")
    assert run(stage).status == "reused"
    assert audit(project.root).findings == ()


def test_each_step_is_asked_of_the_settings_as_they_were_written_then(
    make_stage: MakeStage, run: Run, add_step: AddStep
) -> None:
    asked = []

    def hold(output: Path, inputs: object, settings: object) -> bool:
        asked.append(((output / "text").read_text(), settings))
        return True

    add_step("2", "3", renamed={"name": "title"}, holds=hold)
    add_step("1", "2", renamed={"setting": "name"}, holds=hold)
    run(make_stage("a", "x"))
    run(upgrade(change(make_stage("a", "x"), settings={"title": "x"}), "3"))
    assert asked == [("x", {"name": "x"}), ("x", {"setting": "x"})]


def test_a_version_that_does_not_stand_is_computed_and_planned_so(
    make_stage: MakeStage, run: Run, project: Project, add_step: AddStep
) -> None:
    def hold(output: Path, inputs: dict[str, Path], settings: object) -> bool:
        return (inputs["parent"] / "text").read_text() != "bad"

    add_step(holds=hold)
    for text, status in (("good", "reused"), ("bad", "computed")):
        run(make_stage("parent", text))
        run(make_stage("a", "x", ("parent",)))
        graph = {
            "parent": make_stage("parent", text),
            "a": upgrade(make_stage("a", "x", ("parent",))),
        }
        assert make_plan(project, graph).assets[1].status == status
        assert run(graph["a"]).status == status


@pytest.mark.parametrize("needs_inputs", [False, True])
def test_inputs_that_are_gone_matter_only_where_a_condition_reads_them(
    needs_inputs: bool, make_stage: MakeStage, run: Run, project: Project, add_step: AddStep
) -> None:
    add_step(holds=(lambda output, inputs, settings: bool(inputs)) if needs_inputs else always)
    parent = run(make_stage("parent", "only here")).record.output
    stage = make_stage("a", "x", ("parent",))
    run(stage)
    for path in project.store.cache.folder.rglob("*"):
        if path.is_file() and path.read_bytes() == b"only here":
            path.unlink()
    recipe = make_recipe(upgrade(stage), {"parent": parent.digest})
    assert bool(list(find_reusable(project, upgrade(stage), recipe))) is not needs_inputs


def test_a_plan_puts_an_upgrade_down_to_the_releases(
    make_stage: MakeStage, run: Run, project: Project, add_step: AddStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step()
    old = run(make_stage("a", "x")).record.libraries[reuse.DISTRIBUTION]
    real = reuse._read_version
    monkeypatch.setattr(
        reuse, "_read_version", lambda name: "99.0" if name == reuse.DISTRIBUTION else real(name)
    )
    (planned,) = make_plan(project, {"a": upgrade(make_stage("a", "x"))}).assets
    assert (planned.status, [cause.path for cause in planned.causes]) == (
        "reused",
        [f"recipes changed by the upgrade from {old} to 99.0: code of a"],
    )
    more = change(upgrade(make_stage("a", "x")), settings={"setting": "y", "added": 1})
    (planned,) = make_plan(project, {"a": more}).assets
    assert [cause.path.partition(": ")[0] for cause in planned.causes] == ["inputs/pipeline.yaml"] + 2 * [
        f"recipes changed by the upgrade from {old} to 99.0"
    ]


def test_rows_of_a_former_recipe_are_reused_where_the_version_is_not(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project, add_step: AddStep
) -> None:
    seen: list[str] = []
    good = make_stage("a", "x")

    def compute(context: StageContext) -> object:
        seen.extend((folder / "text").read_text() for folder in context.services.earlier_versions())
        return good.computing.compute(context, good.identity.spec)

    run(good)
    stage = upgrade(change(good, compute=compute))
    assert list(find_earlier(project, stage, make_recipe(stage, {}))) == []
    add_step(keeps="rows")
    assert run(stage).status == "computed"
    assert seen == ["x"]


def test_rows_that_any_code_may_have_made_are_found_without_a_step(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    run(make_stage("a", "x"))
    stage = upgrade(make_stage("a", "x"))
    recipe = make_recipe(stage, {})
    assert list(find_earlier(project, stage, recipe)) == []
    assert len(list(find_earlier(project, stage, recipe, of_any_code=True))) == 1


def forge(root: Path, make: Callable[[MaterialisationRecord], dict[str, object]]) -> str:
    """Puts an altered copy in the place of the newest record; returns its place."""
    (newest,) = sorted(Project.open(root).ledger.records(), key=lambda one: one.sequence)[-1:]
    data = canonical_json(newest.model_copy(update=make(newest)).model_dump(mode="json"))
    (root / "lineage" / f"{newest.record_id}.json").unlink()
    forged = MaterialisationRecord.from_bytes(data, name="forged")
    (root / "lineage" / f"{forged.record_id}.json").write_bytes(forged.to_bytes())
    return f"lineage/{forged.record_id}.json"


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(lambda r: {"former_recipe": "sha256:" + "0" * 64}, id="a recipe that nobody wrote"),
        pytest.param(lambda r: {"former_recipe": None}, id="the recipe of today"),
        pytest.param(lambda r: {"former_recipe": r.recipe}, id="itself"),
        pytest.param(lambda r: {"reused_from": None}, id="reused from nowhere"),
    ],
)
def test_a_record_that_claims_another_former_recipe_is_found(
    claim: Callable[[MaterialisationRecord], dict[str, object]],
    make_stage: MakeStage,
    run: Run,
    project: Project,
    add_step: AddStep,
) -> None:
    add_step()
    run(make_stage("a", "x"))
    run(upgrade(make_stage("a", "x")))
    place = forge(project.root, claim)
    assert ("record-reuse", place) in name_findings(audit(project.root).findings)


def test_a_version_reused_by_a_step_that_no_release_knows_is_found(
    make_stage: MakeStage, run: Run, project: Project, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        step = FormerRecipe(release="0.1.0", before="1", now="2", keeps="version")
        patch.setitem(FORMER_RECIPES, "a", (step,))
        run(make_stage("a", "x"))
        record = run(upgrade(make_stage("a", "x"))).record
    copy = Path(shutil.copytree(project.root, tmp_path / "copy", symlinks=True))
    found = name_findings(audit(copy).findings)
    assert found == [("record-reuse", f"lineage/{record.record_id}.json")]
