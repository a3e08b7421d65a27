"""What an audit tells of checks that a person let pass, and of releases that a person returned to."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from rlaif_dagster.graph.stage import Check, CheckResult, Stage
from rlaif_dagster.inputs.overrides import OVERRIDES_FILE, Override
from rlaif_dagster.lineage.decisions import add_override, make_hold, write_hold
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.tracing.trace import trace_version
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.versioning.store import init_store
from tests.plain_stages import change

from .audited_projects import audit, list_files, make_text_stage, name_findings, run
from .candidates import build, read_history


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """`a` failed its gate and was let pass; `b` was built on it."""
    init_store(tmp_path)
    (tmp_path / "inputs").mkdir()
    project = Project.open(tmp_path)
    a = make_gated("a", passed=False)
    run(project, a)
    override = add_override(project, {"a": a}, "a", "gate", "I looked")
    run(project, change(make_text_stage("b", "", ("a",)), overrides=(override,)))
    return project


def make_gated(name: str, *, passed: bool) -> Stage:
    result = CheckResult(passed=passed)
    check = Check(name="gate", description="", blocking=True, run=lambda _output, _inputs: result)
    return change(make_text_stage(name, "x"), checks=(check,))


def rewrite(root: Path, records: Iterable[MaterialisationRecord]) -> None:
    """Forges a ledger of these records, well chained."""
    for path in list_files(root, "lineage"):
        path.unlink()
    previous: tuple[str, ...] = ()
    for record in records:
        forged = record.model_copy(update={"previous": previous})
        (root / "lineage" / f"{forged.record_id}.json").write_bytes(forged.to_bytes())
        previous = (forged.record_id,)


def test_what_rests_on_an_override_is_told_and_is_no_finding(project: Project) -> None:
    report = audit(project.root)
    assert report.findings == ()
    [use] = report.overrides
    head = project.ledger.find_heads()["a"]
    assert use.built.startswith("b@")
    assert (use.asset, use.digest, use.check) == ("a", head.output.digest, "gate")
    assert (use.reason, use.stands) == ("I looked", True)
    assert audit(project.root, "a").overrides == ()


def test_an_override_that_was_withdrawn_is_history_and_no_fault(project: Project) -> None:
    file = project.root / OVERRIDES_FILE
    file.unlink()
    report = audit(project.root)
    assert (report.findings, [use.stands for use in report.overrides]) == ((), [False])
    file.write_text("overrides: 3\n")
    report = audit(project.root)
    assert (report.findings, [use.stands for use in report.overrides]) == ((), [None])
    assert any("which overrides are still in force" in words for words in report.skipped)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"check": "never_asked"}, {"record-input"}),
        ({"asset": "c"}, {"record-override", "record-input"}),
        ({"digest": "sha256:" + "0" * 64}, {"record-override", "record-input"}),
    ],
)
def test_an_override_of_what_was_not_read_or_had_not_failed_is_found(
    project: Project, change: dict[str, str], kinds: set[str]
) -> None:
    """The check that did fail then has no override, which is found as well. A check that a later reader requires may
    never have been asked of a version; that can be let pass."""
    a, b = project.ledger.records()
    override = b.overrides[0].model_copy(update=change)
    rewrite(project.root, (a, b.model_copy(update={"overrides": (override,)})))
    assert {kind for kind, _ in name_findings(audit(project.root).findings)} == kinds


def test_an_override_of_a_check_that_passed_is_found(tmp_path: Path) -> None:
    init_store(tmp_path)
    project = Project.open(tmp_path)
    record = run(project, make_gated("a", passed=True)).record
    b = run(project, make_text_stage("b", "", ("a",))).record
    override = Override(asset="a", digest=record.output.digest, check="gate", reason="just in case")
    rewrite(tmp_path, (record, b.model_copy(update={"overrides": (override,)})))
    [(kind, _)] = name_findings(audit(tmp_path).findings)
    assert kind == "record-override"


def test_the_audit_of_a_release_that_was_returned_to_covers_its_own_making(default_project: Path) -> None:
    project = Project.open(default_project)
    for text in ("one", "two"):
        build(project, text)
    first = read_history(project).releases[0]
    write_hold(project, make_hold(project, str(first.digest), "rude"))
    build(project, "two", low=0.4)
    made = {record.record_id for record in project.ledger.records() if record.asset == "aligned_policy"}
    assert len(made) == 2
    trace = trace_version(project, RELEASED_POLICY)
    made_from = [str(first.policy), first.facts["evaluation"], str(first.digest)]
    assert [step.digest for step in trace.made_from] == made_from
    report = audit(default_project, RELEASED_POLICY)
    assert report.findings == ()
    assert (
        report.num_records == len(project.ledger.records()) - 2
    )  # all but the second release and its evaluation
