"""Nothing is built on a version that failed its gate, unless a person let that version pass, and then it is told."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rlaif_dagster.errors import GateError, InputError, MissingInputError
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.overrides import OVERRIDES_FILE, Override, read_overrides
from rlaif_dagster.lineage.decisions import add_override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult
from rlaif_dagster.versioning.store import init_store
from tests.plain_stages import change, make_plain_stage

from .conftest import MakeStage

Run = Callable[[Stage], MaterialiseResult]


def make_override(outcome: MaterialiseResult, check: str = "gate", reason: str = "I looked") -> Override:
    record = outcome.record
    return Override(asset=record.asset, digest=record.output.digest, check=check, reason=reason)


def test_an_override_opens_the_gate_and_is_recorded(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    failed = run(make_stage("a", "x", gate=False))
    child = make_stage("b", "", ("a",))
    override = make_override(failed)
    built = run(change(child, overrides=(override,)))
    assert built.status == "computed"
    assert project.ledger.records()[-1].overrides == (override,)
    with pytest.raises(GateError, match=r"rlaif override a gate --reason"):
        run(child)


def make_two_gates(make_stage: MakeStage, name: str) -> Stage:
    """A stage that fails two blocking checks."""
    stage = make_stage(name, "x", gate=False)
    checks = stage.governance.checks
    return change(stage, checks=(*checks, replace(checks[0], name="second")))


def test_a_record_names_every_override_that_it_rests_on(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    """Of two checks of one input and of one check of each of two others; not those of what it does not read."""
    one, two = run(make_two_gates(make_stage, "a")), run(make_stage("b", "x", gate=False))
    soft = make_stage("soft", "x", gate=False)
    asked = run(change(soft, checks=(replace(soft.governance.checks[0], blocking=False),)))
    unread = run(make_stage("unread", "x", gate=False))
    needed = (
        make_override(one),
        make_override(one, check="second"),
        make_override(two, reason="another look"),
        make_override(asked),
    )
    child = change(make_stage("c", "", ("a", "b", "soft")), requires={"soft": {"gate": None}})
    built = run(change(child, overrides=(make_override(unread), *reversed(needed))))
    assert built.record.overrides == needed
    assert project.ledger.records()[-1].overrides == needed
    for missing in needed:
        with pytest.raises(GateError, match=f"c refuses {missing.asset} .* check {missing.check},"):
            run(change(child, overrides=tuple(override for override in needed if override != missing)))


def test_another_override_is_recorded_though_nothing_else_changes(
    make_stage: MakeStage, run: Run, project: Project, computed: list[str]
) -> None:
    """Another reason, and one more check that has to be let pass, which the same bytes now fail."""
    failed = run(make_stage("a", "x", gate=False))
    child = make_stage("b", "", ("a",))
    first = run(change(child, overrides=(make_override(failed),)))
    for overrides in (
        (make_override(failed, reason="I looked again"),),
        (make_override(failed, reason="I looked again"), make_override(failed, check="second")),
    ):
        if len(overrides) == 2:
            run(change(make_two_gates(make_stage, "a"), code_version="2"))
        again = run(change(child, overrides=overrides))
        assert (again.status, again.record.output) == ("reused", first.record.output)
        assert again.record.overrides == overrides
        assert again.record.reused_from is not None
        assert run(change(child, overrides=overrides)).record == again.record
    assert [record.overrides[-1].check for record in project.ledger.find_asset("b")] == [
        "second",
        "gate",
        "gate",
    ]
    assert computed == ["a", "b", "a"]


def test_another_reason_for_a_version_is_recorded_though_nothing_else_changes(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    """A stage with a reason takes what failed, and its record says by which reason every check was let pass."""
    failed = run(make_two_gates(make_stage, "a"))
    run(make_stage("sound", "x", gate=True))
    for parent, checks in (("a", ("gate", "second")), ("sound", ())):
        child = make_stage(f"of_{parent}", "", (parent,))
        for reason in ("held", "held for good"):
            record = run(change(child, reason=reason)).record
            assert record.reason == reason
            assert record.overrides == tuple(
                make_override(failed, check=check, reason=reason) for check in checks
            )
        reasons = [record.reason for record in project.ledger.find_asset(child.name)]
        assert reasons == ["held for good", "held"]


def test_an_override_is_for_one_version_and_one_check(make_stage: MakeStage, run: Run) -> None:
    override = make_override(run(make_stage("a", "x", gate=False)))
    other_check = make_override(run(make_stage("a", "y", gate=False)), check="schema")
    with pytest.raises(GateError, match="blocking check gate"):
        run(change(make_stage("b", "", ("a",)), overrides=(override, other_check)))


def test_an_override_is_no_part_of_a_recipe(make_stage: MakeStage, run: Run, project: Project) -> None:
    """What was built before the check failed is reused, and its new record says on what it rests."""
    run(make_stage("a", "x"))
    child = make_stage("b", "", ("a",))
    first = run(child)
    run(make_stage("b", "other", ("a",)))
    again = make_stage("a", "x", gate=False)
    failed = run(change(again, code_version="2"))
    override = make_override(failed)
    reused = run(change(child, overrides=(override,)))
    assert (reused.status, reused.record.recipe) == ("reused", first.record.recipe)
    assert reused.record.overrides == (override,)
    assert reused.record.reused_from == first.record.record_id
    assert run(change(child, overrides=(override,))).record == reused.record
    assert len(project.ledger.records()) == 5


def test_a_required_check_is_a_gate_for_who_requires_it(make_stage: MakeStage, run: Run) -> None:
    child = change(make_stage("b", "", ("a",)), requires={"a": {"gate": None}})
    run(make_stage("a", "x"))
    with pytest.raises(GateError, match="required check gate was never made"):
        run(child)
    stage = make_stage("a", "y", gate=False)
    [check] = stage.governance.checks
    failed = run(change(stage, checks=(replace(check, blocking=False),)))
    with pytest.raises(GateError, match=r"b refuses a .* required check gate"):
        run(child)
    assert run(make_stage("c", "", ("a",))).record.overrides == ()
    assert run(change(child, overrides=(make_override(failed),))).status == "computed"


def test_a_required_check_counts_only_if_it_asked_for_what_is_required_now(
    make_stage: MakeStage, run: Run
) -> None:
    """Such as a release of an evaluation that is older than the setting."""
    stage = make_stage("a", "x", gate=True)
    [check] = stage.governance.checks
    outcome = run(change(stage, checks=(replace(check, required=["kind"]),)))
    assert outcome.record.checks[0].facts == {"required": ["kind"]}
    child = make_stage("b", "", ("a",))
    with pytest.raises(
        GateError, match=r"gate required \['kind'\], but \['kind', 'short'\] is required(?s:.*)rlaif run a"
    ):
        run(change(child, requires={"a": {"gate": ["kind", "short"]}}))
    assert run(change(child, requires={"a": {"gate": ["kind"]}})).status == "computed"


def test_every_failed_check_of_an_input_is_named(make_stage: MakeStage, run: Run) -> None:
    stage = make_stage("a", "x", gate=False)
    run(change(stage, checks=(*stage.governance.checks, replace(stage.governance.checks[0], name="second"))))
    with pytest.raises(GateError, match=r"check gate, .*check second"):
        run(make_stage("b", "", ("a",)))


# --- the command's side: inputs/overrides.yaml ---


def read_file(project: Project) -> tuple[Override, ...]:
    return read_overrides(project.root)


@pytest.fixture
def inputs_folder(project: Project) -> Path:
    folder = project.root / "inputs"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("inputs_folder")
def test_an_override_is_added_to_the_file_for_the_newest_version(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    stages = [make_stage(name, "x", gate=False) for name in ("a", "b")]
    outcomes = [run(stage) for stage in stages]
    graph = {stage.name: stage for stage in stages}
    for name in ("a", "b"):
        add_override(project, graph, name, "gate", f"{name}: 'fine', #1")
    assert read_file(project) == tuple(
        make_override(outcome, reason=f"{outcome.asset}: 'fine', #1") for outcome in outcomes
    )
    with pytest.raises(InputError, match="already has an override of gate: a: 'fine', #1"):
        add_override(project, graph, "a", "gate", "again")


@pytest.mark.usefixtures("inputs_folder")
def test_an_override_of_nothing_is_refused(make_stage: MakeStage, run: Run, project: Project) -> None:
    failed = make_stage("failed", "x", gate=False)
    [check] = failed.governance.checks
    graph = {
        stage.name: stage
        for stage in (
            failed,
            make_stage("passed", "x", gate=True),
            change(make_stage("soft", "x", gate=False), checks=(replace(check, blocking=False),)),
            make_stage("unchecked", "x"),
        )
    }
    for stage in graph.values():
        run(stage)
    graph["unmade"] = make_stage("unmade", "x", gate=False)
    for asset, name, error, words in (
        ("nothing", "gate", InputError, "there is no asset 'nothing'"),
        ("unmade", "gate", MissingInputError, "never been materialised, so it failed no check"),
        ("failed", "other", InputError, "has no check 'other'\n  remedy: name one of gate"),
        ("unchecked", "gate", InputError, "has no check 'gate'"),
        ("passed", "gate", InputError, "passed\n"),
        ("soft", "gate", InputError, "neither blocking nor required"),
    ):
        with pytest.raises(error) as caught:
            add_override(project, graph, asset, name, "because")
        assert words in str(caught.value)
    assert not (project.root / OVERRIDES_FILE).exists()
    graph["reader"] = change(make_stage("reader", "", ("soft",)), requires={"soft": {"gate": None}})
    assert add_override(project, graph, "soft", "gate", "because").asset == "soft"


def override_one(root: Path, asset: str) -> None:
    project = Project.open(root)
    graph = {
        record.asset: make_plain_stage(record.asset, lambda _context: pytest.fail("nothing is computed"))
        for record in project.ledger.records()
    }
    add_override(project, graph, asset, "gate", "because")


@pytest.mark.slow
def test_commands_at_once_lose_no_override(
    make_stage: MakeStage, run: Run, project: Project, inputs_folder: Path
) -> None:
    assets = [f"a{number}" for number in range(8)]
    for asset in assets:
        run(make_stage(asset, "x", gate=False))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(override_one, [(project.root, asset) for asset in assets])
    assert sorted(override.asset for override in read_file(project)) == assets
    assert [path.name for path in inputs_folder.iterdir()] == ["overrides.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("overrides:\n  - {asset: a, digest: sha256:12, check: c, reason: r}\n", "is not a digest"),
        (
            "overrides:\n  - {asset: a, digest: 'sha256:" + "0" * 64 + "', check: c, reason: ' '}\n",
            "reason is empty",
        ),
        (
            "overrides:\n" + ("  - {asset: a, digest: 'sha256:" + "0" * 64 + "', check: c, reason: r}\n") * 2,
            "twice",
        ),
        ("override: []\n", "unknown field"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    init_store(tmp_path)
    (tmp_path / "inputs").mkdir()
    (tmp_path / OVERRIDES_FILE).write_text(text)
    with pytest.raises(InputError, match=f"(?s){OVERRIDES_FILE}.*{words}.*remedy"):
        read_overrides(tmp_path)
