"""What an audit walks, what it says of a project that is not as it should be, and what it leaves alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.stage import Check, CheckResult
from rlaif_dagster.lineage.auditing.findings import KINDS, Finding
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.versioning.store import init_store

from .audited_projects import (
    STORE,
    audit,
    list_files,
    make_stage,
    make_text_stage,
    name_findings,
    run,
)

Fields = dict[str, Any]


def drop_objects(root: Path, asset: str) -> list[Path]:
    """Removes the files of an asset's newest version from the store."""
    project = Project.open(root)
    head = project.ledger.find_heads()[asset]
    tree = project.store.cache.read_tree(head.output.md5)
    assert tree is not None
    dropped = [project.store.cache.path_of(md5) for _, md5 in tree.files]
    for path in dropped:
        path.unlink()
    return dropped


def test_a_sound_project_has_no_finding_and_every_byte_was_hashed(template: Path) -> None:
    report = audit(template)
    assert report.findings == ()
    assert report.skipped == ("Dagster's event log: this project has none",)
    assert report.num_records == len(list_files(template, "lineage")) == 9
    assert report.num_objects == len(list_files(template, STORE))
    assert report.num_bytes == sum(path.stat().st_size for path in list_files(template, STORE, "data"))


def test_a_project_in_which_nothing_ran_has_no_finding(tmp_path: Path) -> None:
    init_store(tmp_path)
    report = audit(tmp_path)
    assert (report.findings, report.num_records, report.num_objects) == ((), 0, 0)


def test_an_audit_works_on_another_machine(template: Path, tmp_path: Path) -> None:
    """Without this machine's own settings, locks and databases, in a folder of another name."""
    shutil.copytree(template, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("config.local", ".rlaif"))
    assert audit(tmp_path / "elsewhere").findings == ()
    assert not (tmp_path / "elsewhere" / ".rlaif").exists()


def test_an_asset_is_audited_with_all_that_it_was_made_from(root: Path) -> None:
    whole = audit(root, "round_2/c")
    part = audit(root, "a")
    assert (whole.findings, part.findings) == ((), ())
    assert (whole.num_records, part.num_records) == (6, 2)  # a, b and c, each reused from an earlier record
    assert part.num_objects < whole.num_objects < audit(root).num_objects
    dropped = drop_objects(root, "a")
    for target in ("a", "b", "round_2/c"):
        assert {f.place for f in audit(root, target).findings} == {str(p.relative_to(root)) for p in dropped}


def test_damage_elsewhere_is_not_the_assets(root: Path) -> None:
    drop_objects(root, "round_2/c")
    assert audit(root, "b").findings == ()
    assert audit(root).findings


def test_a_version_is_named_by_its_digest_or_the_beginning_of_it(template: Path) -> None:
    older = next(r for r in Project.open(template).ledger.records() if r.asset == "a").output.digest
    hexadecimal = older.removeprefix("sha256:")
    for target in (older, hexadecimal, f"a@{older}", f"a@{hexadecimal[:12]}", f"a@sha256:{hexadecimal[:8]}"):
        assert audit(template, target).findings == ()
    newer = Project.open(template).ledger.records()[3]
    assert audit(template, f"a@{newer.output.digest}").num_records == 1


@pytest.mark.parametrize("target", ["nothing", "b@0000", "a@", "@", "a@xyz", "a@abc", "0" * 64])
def test_an_unknown_version_is_explained(template: Path, target: str) -> None:
    with pytest.raises(InputError, match="no valid record"):
        audit(template, target)


def test_a_digest_that_two_assets_share_is_ambiguous(tmp_path: Path) -> None:
    init_store(tmp_path)
    project = Project.open(tmp_path)
    for name in ("p", "q"):
        head = run(project, make_stage(name, lambda folder: (folder / "text").write_text("x"))).record
    with pytest.raises(InputError, match=r"names several versions: p@.*, q@"):
        audit(tmp_path, head.output.digest)
    assert audit(tmp_path, f"q@{head.output.digest}").num_records == 1


def test_a_damaged_ledger_is_named_when_the_version_cannot_be_found(root: Path) -> None:
    for path in list_files(root, "lineage"):
        path.write_bytes(b"{}")
    with pytest.raises(InputError, match="it is damaged"):
        audit(root, "a")


# --- what is missing, and the remote ---


def add_remote(root: Path, address: Path) -> None:
    with (root / ".dvc" / "config").open("a") as stream:
        stream.write(f"    remote = team\n['remote \"team\"']\n    url = {address}\n")


def test_missing_objects_that_the_remote_has_are_said_to_be_there_and_stay_there(
    root: Path, tmp_path: Path
) -> None:
    add_remote(root, tmp_path / "remote")
    project = Project.open(root)
    project.store.push(sorted({record.output.md5 for record in project.ledger.records()}))
    before = sorted((tmp_path / "remote").rglob("*"))
    dropped = drop_objects(root, "b")
    findings = audit(root, remote=True).findings
    assert name_findings(findings) == [("object-missing", str(path.relative_to(root))) for path in dropped]
    assert all("; the remote 'team' has a file of that name" in finding.found for finding in findings)
    assert not any(path.exists() for path in dropped)
    assert sorted((tmp_path / "remote").rglob("*")) == before


def test_missing_objects_that_nobody_has_are_said_to_be_lost(root: Path, tmp_path: Path) -> None:
    add_remote(root, tmp_path / "remote")
    drop_objects(root, "b")
    assert {finding.found for finding in audit(root, remote=True).findings} == {
        "no such file (the remote 'team' does not have it either)"
    }


def test_an_audit_works_without_the_remote(root: Path) -> None:
    """Nobody is asked while nothing is missing."""
    add_remote(root, Path("/dev/null/nowhere"))
    assert audit(root, remote=True).findings == ()
    drop_objects(root, "b")
    findings = audit(root, remote=True).findings
    assert {finding.kind for finding in findings} == {"object-missing"}


def test_without_the_flag_the_remote_is_not_asked_and_nothing_is_called_lost(root: Path) -> None:
    add_remote(root, Path("/dev/null/nowhere"))
    dropped = drop_objects(root, "b")
    findings = audit(root).findings
    assert name_findings(findings) == [("object-missing", str(path.relative_to(root))) for path in dropped]
    assert {finding.found for finding in findings} == {"not here, so not checked"}
    assert all("rlaif pull" in finding.remedy and "--remote" in finding.remedy for finding in findings)


# --- records that hash to their names, and are wrong ---


def forge(root: Path, change: Callable[[MaterialisationRecord], Fields]) -> str:
    """Adds a record, made from the newest, under the name that its bytes ask for; returns its place."""
    newest = Project.open(root).ledger.records()[-1]
    forged = newest.model_copy(update={"sequence": 10, "previous": (newest.record_id,)} | change(newest))
    place = f"lineage/{forged.record_id}.json"
    (root / place).write_bytes(forged.to_bytes())
    return place


def change_output(record: MaterialisationRecord, **fields: Any) -> Fields:
    return {"output": record.output.model_copy(update=fields), "reused_from": None}


def replace_file(record: MaterialisationRecord) -> Fields:
    """Another digest of one file, consistently."""
    first, *rest = record.output.files
    files = (first.model_copy(update={"sha256": "0" * 64}), *rest)
    digest = Digest.from_json([[file.path, f"sha256:{file.sha256}"] for file in files])
    return change_output(record, files=files, digest=str(digest))


def add_file(record: MaterialisationRecord) -> Fields:
    """One file more, consistently."""
    *rest, last = record.output.files
    files = (*rest, last, last.model_copy(update={"path": "z"}))
    digest = Digest.from_json([[file.path, f"sha256:{file.sha256}"] for file in files])
    return change_output(record, files=files, digest=str(digest), size=record.output.size + last.size)


def read_unknown(record: MaterialisationRecord) -> Fields:
    """An input that nobody made, consistently."""
    inputs = {
        name: ref.model_copy(update={"digest": "sha256:" + "0" * 64}) for name, ref in record.inputs.items()
    }
    parts = record.recipe_parts.model_copy(
        update={"inputs": {name: ref.digest for name, ref in inputs.items()}}
    )
    return {"inputs": inputs, "recipe_parts": parts, "recipe": str(parts.digest), "reused_from": None}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(
            lambda r: {"recipe": "sha256:" + "0" * 64, "reused_from": None}, "record-recipe", id="recipe"
        ),
        pytest.param(lambda r: {"asset": "other", "reused_from": None}, "record-recipe", id="asset"),
        pytest.param(lambda r: {"inputs": {}, "reused_from": None}, "record-recipe", id="inputs"),
        pytest.param(lambda r: change_output(r, digest="sha256:" + "0" * 64), "record-output", id="digest"),
        pytest.param(lambda r: change_output(r, size=0), "record-output", id="size"),
        pytest.param(lambda r: change_output(r, md5="0"), "record-output", id="md5"),
        pytest.param(lambda r: change_output(r, files=r.output.files[::-1]), "record-output", id="order"),
        pytest.param(lambda r: {"sequence": 7}, "record-chain", id="sequence"),
        pytest.param(lambda r: {"previous": ()}, "record-chain", id="no previous"),
        pytest.param(lambda r: {"started_at": r.ended_at.replace(year=2999)}, "record-chain", id="times"),
        pytest.param(lambda r: {"reused_from": r.previous[0]}, "record-reuse", id="reuse"),
        pytest.param(read_unknown, "record-input", id="unknown input"),
        pytest.param(
            lambda r: {"ended_at": r.ended_at.replace(tzinfo=None)}, "record-invalid", id="time without zone"
        ),
    ],
)
def test_a_record_that_contradicts_itself_or_others_is_found(
    root: Path, change: Callable[[MaterialisationRecord], Fields], kind: str
) -> None:
    place = forge(root, change)
    assert (kind, place) in name_findings(audit(root).findings)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b"[" * 5000, b'{"format": 2}'],
    ids=["nothing", "a list", "no field", "no text", "too deep", "another format"],
)
def test_a_file_that_is_no_record_is_found_and_the_rest_is_audited(root: Path, data: bytes) -> None:
    drop_objects(root, "a")
    place = f"lineage/{Digest.from_bytes(data).sha256}.json"
    (root / place).write_bytes(data)
    found = name_findings(audit(root).findings)
    assert ("record-invalid", place) in found
    assert "object-missing" in {kind for kind, _ in found}


@pytest.mark.parametrize(
    "write", [lambda v: json.dumps(v, indent=1).encode(), lambda v: b" " + canonical_json(v)]
)
def test_a_record_in_another_form_is_found(root: Path, write: Callable[[Any], bytes]) -> None:
    data = write(json.loads(list_files(root, "lineage")[0].read_bytes()))
    place = f"lineage/{Digest.from_bytes(data).sha256}.json"
    (root / place).write_bytes(data)
    assert ("record-invalid", place) in name_findings(audit(root).findings)


@pytest.mark.parametrize("change", [replace_file, add_file])
def test_bytes_that_are_not_the_recorded_ones_are_found_though_dvc_finds_them_sound(
    root: Path, change: Callable[[MaterialisationRecord], Fields]
) -> None:
    forge(root, change)
    assert "version-differs" in {finding.kind for finding in audit(root).findings}


def test_a_version_that_a_check_had_blocked_must_not_have_been_read(tmp_path: Path) -> None:
    init_store(tmp_path)
    project = Project.open(tmp_path)

    def check(passed: bool) -> tuple[Check, ...]:
        answer = CheckResult(passed=passed)
        return (Check(name="gate", description="", blocking=True, run=lambda _output, _inputs: answer),)

    def write(folder: Path) -> None:
        (folder / "text").write_text("x")

    good = run(project, make_stage("a", write, checks=check(True))).record
    run(project, make_text_stage("b", "", ("a",)))
    assert audit(tmp_path).findings == ()
    newest = project.ledger.records()[-1]
    for path in list_files(tmp_path, "lineage"):
        path.unlink()
    bad = good.model_copy(update={"checks": (good.checks[0].model_copy(update={"passed": False}),)})
    reader = newest.model_copy(update={"previous": (bad.record_id,)})
    for record in (bad, reader):
        (tmp_path / "lineage" / f"{record.record_id}.json").write_bytes(record.to_bytes())
    [finding] = audit(tmp_path).findings
    assert (finding.kind, finding.place) == ("record-input", f"lineage/{reader.record_id}.json")
    assert "which failed gate" in finding.found


# --- data.dvc and data/ ---


def test_a_data_dvc_of_another_time_is_found_by_asset(root: Path) -> None:
    older = Project.open(root).ledger.records()[3]
    Project.open(root).store.pin("a", older.output.md5)
    findings = {(f.kind, f.place): f for f in audit(root).findings}
    assert findings.keys() == {
        ("pin-differs", "data.dvc: a"),
        ("copy-changed", "data/a/text"),
        ("copy-changed", "data/a/more/bytes"),
    }
    assert findings["pin-differs", "data.dvc: a"].found.startswith(f"a@{older.output.digest[7:19]}")


def test_what_a_person_adds_to_data_dvc_is_theirs(root: Path) -> None:
    pin = root / "data.dvc"
    pin.write_text("# ours\n" + pin.read_text() + "  desc: all of it\n")
    assert audit(root).findings == ()


def test_a_project_without_its_working_copy_is_sound(root: Path) -> None:
    shutil.rmtree(root / "data")
    report = audit(root)
    assert report.findings == ()
    assert "data/: the folder is missing" in report.skipped[0]


def test_what_a_killed_run_left_is_named(root: Path) -> None:
    """A version is stored before its record is written."""
    folder = root.parent / "unfinished"
    folder.mkdir()
    (folder / "text").write_text("unfinished")
    Project.open(root).store.add("a", folder)
    findings = audit(root).findings
    assert {finding.kind for finding in findings} == {"object-unknown"}
    assert all("a run that was killed" in finding.remedy for finding in findings)


def test_a_cache_that_projects_share_is_audited_for_what_this_one_needs(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        init_store(tmp_path / name)
        with (tmp_path / name / ".dvc" / "config.local").open("a") as stream:
            stream.write(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
        run(Project.open(tmp_path / name), make_text_stage(name, "x"))
    report = audit(tmp_path / "one")
    assert (report.findings, report.num_objects) == ((), 4)
    assert "may be shared with other projects" in report.skipped[0]
    drop_objects(tmp_path / "one", "one")
    assert {finding.kind for finding in audit(tmp_path / "one").findings} == {"object-missing"}


def test_merged_ledgers_are_sound(template: Path, tmp_path: Path) -> None:
    """Two people go on from the same state; the union of their records and objects has two ends, then one."""
    for name in ("here", "there"):
        shutil.copytree(template, tmp_path / name)
        run(Project.open(tmp_path / name), make_text_stage(name, "new", ("a",)))
    for place in ("lineage", STORE):
        shutil.copytree(tmp_path / "there" / place, tmp_path / "here" / place, dirs_exist_ok=True)
    run(Project.open(tmp_path / "here"), make_text_stage("there", "new", ("a",)))
    run(Project.open(tmp_path / "here"), make_text_stage("end", "", ("here", "there")))
    assert audit(tmp_path / "here").findings == ()


def test_a_finding_is_of_a_known_kind() -> None:
    with pytest.raises(ValueError, match="not a kind"):
        Finding(kind="odd", place="", found="", expected="", remedy="")
    assert all(KINDS.values())
