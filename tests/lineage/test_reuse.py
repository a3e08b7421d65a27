import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError, GateError, MissingInputError, StorageError
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, confirm, list_unasked, make_recipe, materialise
from rlaif_dagster.lineage.services import find_earlier
from rlaif_dagster.progress import ignore_progress
from tests.plain_stages import change

from .conftest import MakeStage

Run = Callable[[Stage], MaterialiseResult]


def read_text(project: Project, asset: str) -> str:
    return (project.root / "data" / asset / "text").read_text()


def read_files(project: Project) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in project.root.rglob("*")
        if path.is_file() and ".rlaif" not in path.parts
    }


def list_fresh(project: Project, *stages: Stage) -> list[str]:
    plan = make_plan(project, {stage.name: stage for stage in stages}, priced=False)
    return [item.asset for item in plan.fresh]


def test_the_same_recipe_is_computed_once(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project
) -> None:
    first = run(make_stage("a", "x"))
    second = run(make_stage("a", "x"))
    assert (first.status, second.status) == ("computed", "reused")
    assert computed == ["a"]
    assert second.record == first.record
    assert len(project.ledger.records()) == 1


def test_a_changed_setting_computes_again_and_going_back_reuses(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project
) -> None:
    for setting in ("x", "y", "x"):
        run(make_stage("a", setting))
    assert computed == ["a", "a"]
    assert read_text(project, "a") == "x"
    records = project.ledger.records()
    assert [record.sequence for record in records] == [1, 2, 3]
    assert records[2].reused_from == records[0].record_id
    assert records[2].output == records[0].output


def test_an_upstream_that_comes_out_the_same_stops_the_rebuild(
    make_stage: MakeStage, run: Run, computed: list[str]
) -> None:
    """Early cutoff: the edit changes the recipe of a, not its bytes, so b is not computed again."""
    run(make_stage("a", "x", constant=True))
    run(make_stage("b", "", ("a",)))
    assert run(make_stage("a", "y", constant=True)).status == "computed"
    assert run(make_stage("b", "", ("a",))).status == "reused"
    assert computed == ["a", "b", "a"]


def test_a_changed_input_is_read_by_its_digest(make_stage: MakeStage, run: Run, project: Project) -> None:
    """What a person writes into the working copy is not what the next stage reads."""
    run(make_stage("a", "x"))
    working_copy = project.root / "data" / "a" / "text"
    working_copy.chmod(0o644)
    working_copy.write_text("tampered")
    outcome = run(make_stage("b", "y", ("a",)))
    assert read_text(project, "b") == "y x"
    assert outcome.record.inputs["a"].digest == project.ledger.find_heads()["a"].output.digest


def test_a_working_copy_that_was_changed_is_put_right(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    run(make_stage("a", "x"))
    (project.root / "data" / "a" / "extra").write_text("junk")
    run(make_stage("a", "x"))
    assert [path.name for path in (project.root / "data" / "a").iterdir()] == ["text"]


def test_a_stage_without_its_input_says_what_to_run(make_stage: MakeStage, run: Run) -> None:
    with pytest.raises(MissingInputError, match=r"b reads a, .*\n.*rlaif run a"):
        run(make_stage("b", "", ("a",)))


def test_nothing_is_built_on_an_input_that_failed_a_blocking_check(
    make_stage: MakeStage, run: Run, computed: list[str]
) -> None:
    run(make_stage("a", "x", gate=False))
    with pytest.raises(GateError, match=r"b refuses a .* blocking check gate"):
        run(make_stage("b", "", ("a",)))
    assert computed == ["a"]
    run(make_stage("a", "y", gate=True))
    assert run(make_stage("b", "", ("a",))).status == "computed"


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_tampered_bytes_are_refused_and_left_as_evidence(
    make_stage: MakeStage, run: Run, project: Project, mode: int
) -> None:
    outcome = run(make_stage("a", "secret"))
    [stored] = [
        path
        for path in (project.root / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if path.is_file() and path.read_bytes() == b"secret"
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"forged")
    stored.chmod(mode)
    with pytest.raises(CorruptVersionError):
        run(make_stage("a", "secret"))
    with pytest.raises(CorruptVersionError):
        run(make_stage("b", "", ("a",)))
    assert stored.read_bytes() == b"forged"
    assert stat.S_IMODE(stored.stat().st_mode) == mode
    assert outcome.record.output.digest in str(project.ledger.records()[0].output.digest)


def test_a_stage_that_fails_changes_nothing(make_stage: MakeStage, run: Run, project: Project) -> None:
    run(make_stage("a", "x"))
    before = {
        path: path.read_bytes()
        for path in project.root.rglob("*")
        if path.is_file() and ".rlaif" not in path.parts
    }

    def fail(context: StageContext) -> StageResult:
        (context.output / "text").write_text("half")
        raise OSError(28, os.strerror(28))

    good = make_stage("a", "y")
    broken = change(good, compute=fail)
    with pytest.raises(StorageError, match="No space left on device"):
        run(broken)
    after = {
        path: path.read_bytes()
        for path in project.root.rglob("*")
        if path.is_file() and ".rlaif" not in path.parts
    }
    assert after == before
    assert list((project.scratch / "work").iterdir()) == []


def test_freshness_follows_settings_and_inputs(make_stage: MakeStage, run: Run, project: Project) -> None:
    a, b, other = make_stage("a", "x"), make_stage("b", "", ("a",)), make_stage("a", "y")
    assert list_fresh(project, a) == []
    run(a)
    run(b)
    assert list_fresh(project, a, b) == ["a", "b"]
    assert list_fresh(project, other) == []
    run(other)
    assert list_fresh(project, other, b) == ["a"]


def test_the_record_says_what_was_read_written_and_found(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    run(make_stage("a", "x"))
    record = run(make_stage("b", "y", ("a",), gate=True)).record
    assert record.recipe == str(record.recipe_parts.digest)
    assert record.recipe_parts.inputs == {"a": project.ledger.records()[0].output.digest}
    assert record.recipe_parts.settings == {"setting": "y"}
    assert set(record.recipe_parts.engine) == {"pyarrow"}
    assert (record.rows, record.counts, record.metrics) == (1, {"num_read": 1}, {"half": 0.5, "said": ["so"]})
    assert [(check.name, check.passed, check.blocking) for check in record.checks] == [("gate", True, True)]
    [file] = record.output.files
    assert (file.path, file.size, file.sha256) == ("text", 3, Digest.from_bytes(b"y x").sha256)
    assert record.started_at <= record.ended_at
    stored = json.loads((project.root / "lineage" / f"{record.record_id}.json").read_bytes())
    assert stored["previous"] == [project.ledger.records()[0].record_id]


def test_a_version_that_a_new_check_never_saw_is_put_to_it_and_not_made_again(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project
) -> None:
    """Nobody has asked, and Dagster waits for the answer."""
    before = run(make_stage("a", "x")).record
    stage = make_stage("a", "x", gate=True)
    (planned,) = make_plan(project, {"a": stage}, priced=False).assets
    assert planned.status == "reused"
    assert [(cause.path, cause.new) for cause in planned.causes] == [("check of a", "gate")]
    assert confirm(project, stage) is None
    now = run(stage)
    assert (now.status, now.record.output) == ("reused", before.output)
    assert confirm(project, stage) == now.record
    assert [(check.name, check.passed) for check in now.record.checks] == [("gate", True)]
    assert make_plan(project, {"a": stage}, priced=False).stale == ()
    num_records = len(project.ledger.records())
    assert run(stage).status == run(make_stage("a", "x")).status == "reused"
    assert len(project.ledger.records()) == num_records
    assert computed == ["a"]


def test_a_new_check_that_fails_blocks_what_reads_a_version_of_before(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    run(make_stage("parent", "z"))
    run(make_stage("a", "x", ("parent",)))
    graph = {
        "parent": make_stage("parent", "z"),
        "a": make_stage("a", "x", ("parent",), gate=False),
        "b": make_stage("b", "", ("a",)),
    }
    planned = {item.asset: item.status for item in make_plan(project, graph).assets}
    assert planned == {"parent": "fresh", "a": "reused", "b": "blocked"}
    assert run(graph["a"]).status == "reused"
    with pytest.raises(GateError, match="gate"):
        run(graph["b"])


def test_earlier_versions_are_offered_newest_first(make_stage: MakeStage, run: Run) -> None:
    seen: list[list[str]] = []

    def stage(setting: str) -> Stage:
        good = make_stage("a", setting)

        def compute(context: StageContext) -> StageResult:
            seen.append([(folder / "text").read_text() for folder in context.services.earlier_versions()])
            return good.compute(context)

        return change(good, compute=compute)

    for setting in ("x", "y", "z"):
        run(stage(setting))
    assert seen == [[], ["x"], ["y", "x"]]


def test_a_try_with_open_rows_is_never_passed_over_for_an_older_one(
    make_stage: MakeStage, run: Run, computed: list[str], project: Project
) -> None:
    """The newest try of a recipe counts: what it left open is tried again, though an older try left nothing."""
    good = make_stage("a", "x")
    half = change(
        good,
        compute=lambda context: replace(good.computing.compute(context, good.identity.spec), num_open=1),
    )
    assert run(good).status == "computed"
    assert run(good).status == "reused"
    assert materialise(project, half, progress=ignore_progress, again=True).status == "computed"
    assert run(good).status == "computed"
    assert run(good).status == "reused"
    assert computed == ["a"] * 3


def test_rows_that_would_be_paid_for_again_are_tried_again_only_where_that_is_asked_for(
    make_stage: MakeStage, run: Run, computed: list[str]
) -> None:
    good = make_stage("a", "x")
    stage = change(
        good,
        compute=lambda context: replace(
            good.computing.compute(context, good.identity.spec), num_unparsed={"judge": 1}
        ),
    )
    assert run(stage).record.counts["num_unparsed_rows_of_judge"] == 1
    assert run(stage).status == "reused"
    for_another = replace(stage, computing=replace(stage.computing, retries_unparsed=("another",)))
    assert run(for_another).status == "reused"
    retrying = replace(stage, computing=replace(stage.computing, retries_unparsed=("judge",)))
    assert [run(retrying).status for _ in range(2)] == ["computed"] * 2
    assert run(stage).status == "reused"
    assert computed == ["a"] * 3


def test_a_version_of_a_round_that_was_stopped_is_no_earlier_version(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    """It holds a word of why, and no rows; of an own asset or of one of the same kind in another round."""
    seen: list[str] = []

    def make(name: str, setting: str) -> Stage:
        good = make_stage(name, setting)

        def compute(context: StageContext) -> StageResult:
            seen.extend((folder / "text").read_text() for folder in context.services.earlier_versions())
            result = good.computing.compute(context, good.identity.spec)
            return replace(result, rows=0, metrics={"stopped": "why"}) if setting == "stopped" else result

        return change(good, compute=compute, kin=("a", "round_2/a"))

    for name in ("a", "round_2/a"):
        for setting in ("x", "stopped"):
            assert run(make(name, f"{setting}")).record.is_stopped is (setting == "stopped")
    seen.clear()
    last = make("a", "y")
    run(last)
    assert seen == ["x"]  # of both assets, which have the same bytes
    assert [record.asset for record in find_earlier(project, last, make_recipe(last, {}))] == ["a", "a"]


def test_work_folders_of_dead_processes_are_removed(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    for parent in (project.scratch / "work", project.scratch / "scratch", project.store.cache.scratch_path):
        leftover = parent / ("d" * 32)
        leftover.mkdir(parents=True)
        (leftover / "file").write_text("x")
        leftover.with_suffix(".lock").touch()
        run(make_stage("a", "x"))
        assert list(parent.iterdir()) == []


def test_the_working_copy_is_what_data_dvc_pins(make_stage: MakeStage, run: Run, project: Project) -> None:
    run(make_stage("a", "x"))
    run(make_stage("b", "y", ("a",)))
    heads = project.ledger.find_heads()
    assert {name: project.store.find_pinned(name) for name in ("a", "b")} == {
        name: head.output.md5 for name, head in heads.items()
    }
    assert Path(project.root, "data.dvc").is_file()


def test_a_check_that_was_renamed_was_made_under_its_former_name(make_stage: MakeStage, run: Run) -> None:
    """A person's override of the former name stays in force."""
    stage = make_stage("a", "x")
    check = Check(
        name="min_ground_truth_agreement",
        description="",
        blocking=True,
        run=lambda output, inputs: CheckResult(passed=False),
    )
    stage = replace(stage, governance=replace(stage.governance, checks=(check,)))
    record = run(stage).record
    (made,) = record.checks
    former = record.model_copy(update={"checks": (made.model_copy(update={"name": "min_gold_agreement"}),)})
    assert list_unasked(stage, former) == []
    assert list_unasked(stage, record.model_copy(update={"checks": ()})) == ["min_ground_truth_agreement"]
