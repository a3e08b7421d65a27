"""Whatever is done to a file of the store, the ledger, `data.dvc` or `data/`: it is found, named, and left as it is."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.store import init_store

from .audited_projects import STORE, audit, list_files, make_stage, name_findings, run

Files = list[Path]


@contextmanager
def holding(path: Path, data: bytes, mode: int) -> Iterator[None]:
    """Other bytes in a file for the time of a `with` block, under a mode."""
    kept, kept_mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o644)
        path.write_bytes(kept)
        path.chmod(kept_mode)


def find(findings: tuple[Finding, ...], kind: str, path: Path, root: Path) -> Finding:
    """The one finding of a kind at a file."""
    [found] = [f for f in findings if (f.kind, f.place) == (kind, path.relative_to(root).as_posix())]
    return found


def kind_of(path: Path, root: Path) -> str:
    """What a changed file is called."""
    place = path.relative_to(root).as_posix()
    if place.startswith("lineage/"):
        return "record-changed"
    return "object-changed" if place.startswith(STORE) else "copy-changed"


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found_under_any_mode(template: Path, data: st.DataObject) -> None:
    """Plain DVC trusts a read-only object without hashing it; the audit asks no mode."""
    files = list_files(template, STORE, "lineage", "data", "data.dvc")
    path = data.draw(st.sampled_from(files), label="file")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1), label="position")] ^= data.draw(
        st.integers(1, 255), label="bits"
    )
    with holding(path, bytes(content), data.draw(st.sampled_from([0o444, 0o644, 0o600]), label="mode")):
        findings = audit(template).findings
        if path.name == "data.dvc":
            assert names_data_dvc(findings)
        else:
            assert find(findings, kind_of(path, template), path, template)


def names_data_dvc(findings: tuple[Finding, ...]) -> bool:
    return any("data.dvc" in finding.place + finding.expected for finding in findings)


@pytest.mark.slow
def test_every_byte_of_data_dvc_counts(template: Path) -> None:
    path = template / "data.dvc"
    content = path.read_bytes()
    for position in range(len(content)):
        changed = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        with holding(path, changed, 0o444):
            assert names_data_dvc(audit(template).findings), position


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o444, 0o644])
@pytest.mark.parametrize("length", [0, 1, -1])
def test_every_truncated_file_is_found(template: Path, length: int, mode: int) -> None:
    for path in list_files(template, STORE, "lineage", "data", "data.dvc"):
        with holding(path, path.read_bytes()[:length], mode):
            findings = audit(template).findings
            if path.name == "data.dvc":
                assert names_data_dvc(findings)
            else:
                assert find(findings, kind_of(path, template), path, template)


@pytest.mark.slow
def test_every_appended_byte_is_found(template: Path) -> None:
    for path in list_files(template, STORE, "lineage", "data"):
        with holding(path, path.read_bytes() + b"\n", 0o444):
            assert find(audit(template).findings, kind_of(path, template), path, template)


@pytest.mark.parametrize("position", [0, 1 << 20, -1])
def test_a_changed_byte_of_a_large_file_is_found(tmp_path: Path, position: int) -> None:
    """Large files are hashed with sha256 alone while it is the recorded digest."""
    init_store(tmp_path)
    content = bytes(range(256)) * (1 << 13)
    run(Project.open(tmp_path), make_stage("a", lambda folder: (folder / "model").write_bytes(content)))
    assert audit(tmp_path).findings == ()
    [path] = [path for path in list_files(tmp_path, STORE) if path.stat().st_size == len(content)]
    changed = bytearray(content)
    changed[position] ^= 1
    with holding(path, bytes(changed), 0o444):
        assert find(audit(tmp_path).findings, "object-changed", path, tmp_path)


def list_proven_objects(root: Path) -> Files:
    """All objects but the trees of earlier states of `data/`, which the ledger and the other trees tell again."""
    project = Project.open(root)
    needed = {record.output.md5 for record in project.ledger.records()} | {project.store.read_pinned()}
    return [
        path
        for path in list_files(root, STORE)
        if path.suffix != ".dir" or f"{path.parent.name}{path.name}" in needed
    ]


def test_every_dropped_object_is_found(template: Path, tmp_path: Path) -> None:
    paths = list_proven_objects(template)
    assert len(paths) > 10
    for path in paths:
        path.rename(tmp_path / "aside")
        finding = find(audit(template).findings, "object-missing", path, template)
        (tmp_path / "aside").rename(path)
        assert finding.found == "no such file"


def test_every_dropped_record_is_found(template: Path, tmp_path: Path) -> None:
    """The newest is missed by data.dvc, which pins its version, or by nobody: see docs/audit.md."""
    *records, newest = Project.open(template).ledger.records()
    for record in records:
        path = template / "lineage" / f"{record.record_id}.json"
        path.rename(tmp_path / "aside")
        assert find(audit(template).findings, "record-missing", path, template)
        (tmp_path / "aside").rename(path)
    path = template / "lineage" / f"{newest.record_id}.json"
    path.rename(tmp_path / "aside")
    assert name_findings(audit(template).findings) == [("pin-differs", "data.dvc: round_2/c")]
    (tmp_path / "aside").rename(path)


def test_a_dropped_ledger_is_found(root: Path) -> None:
    shutil.rmtree(root / "lineage")
    kinds = {finding.kind for finding in audit(root).findings}
    assert kinds == {"object-unknown", "pin-differs"}


@pytest.mark.parametrize("place", ["data.dvc", "data/a/text", "data/round_2"])
def test_a_dropped_file_of_the_working_copy_is_found(root: Path, place: str) -> None:
    path = root / place
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    [(kind, where)] = name_findings(audit(root).findings)
    assert (kind, where) in {
        ("pin-changed", "data.dvc"),
        ("copy-missing", "data/a/text"),
        ("copy-missing", "data/round_2/c"),
    }


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("lineage/notes.txt", "unknown-file"),
        (f"lineage/{'0' * 64}.json", "record-changed"),
        (f"lineage/{'0' * 64}.1.tmp", "unknown-file"),
        (f"{STORE}/00/{'0' * 30}", "object-changed"),
        (f"{STORE}/00/{'0' * 30}.dir", "object-changed"),
        (f"{STORE}/00/short", "unknown-file"),
        (f"{STORE}/28/32e21254f4d3b0ed755a827d07ce58", "object-unknown"),
        ("data/a/extra", "unknown-file"),
        ("data/extra", "unknown-file"),
        ("data/round_2/extra", "unknown-file"),
    ],
)
def test_an_added_file_is_found(root: Path, place: str, kind: str) -> None:
    path = root / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"added\n")
    assert name_findings(audit(root).findings) == [(kind, place)]


@pytest.mark.parametrize("place", ["lineage/link", f"{STORE}/link", "data/a/link"])
def test_a_link_to_a_folder_is_found(root: Path, tmp_path: Path, place: str) -> None:
    (root / place).symlink_to(tmp_path)
    assert name_findings(audit(root).findings) == [("unknown-file", place)]


@pytest.mark.parametrize("place", ["lineage", STORE])
def test_a_file_that_became_a_link_to_its_own_bytes_is_found(root: Path, tmp_path: Path, place: str) -> None:
    """Bytes outside the project can change later."""
    path = next(path for path in list_files(root, place) if path.suffix != ".dir")
    shutil.copyfile(path, tmp_path / "outside")
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    kinds = [
        kind for kind, where in name_findings(audit(root).findings) if where == str(path.relative_to(root))
    ]
    assert kinds == ["unknown-file" if place == "lineage" else "object-changed"]


@pytest.mark.parametrize("place", ["lineage", STORE, "data"])
def test_two_files_that_swapped_their_bytes_are_both_found(template: Path, place: str) -> None:
    one, other = list_files(template, place)[:2]
    swapped = one.read_bytes(), other.read_bytes()
    with holding(one, swapped[1], 0o444), holding(other, swapped[0], 0o444):
        findings = audit(template).findings
        assert find(findings, kind_of(one, template), one, template)
        assert find(findings, kind_of(other, template), other, template)


def rename_record(root: Path) -> tuple[Path, Path]:
    oldest = Project.open(root).ledger.records()[0]
    path = root / "lineage" / f"{oldest.record_id}.json"
    return path, path.with_name(f"{'0' * 64}.json")


def rename_object(root: Path) -> tuple[Path, Path]:
    path = list_proven_objects(root)[0]
    return path, path.with_name("0" * len(path.name))


def rename_copy(root: Path) -> tuple[Path, Path]:
    return root / "data/a/text", root / "data/a/Text"


@pytest.mark.parametrize(
    ("choose", "kinds"),
    [
        (rename_record, {"record-missing", "record-changed"}),
        (rename_object, {"object-missing", "object-changed"}),
        (rename_copy, {"copy-missing", "unknown-file"}),
    ],
)
def test_a_renamed_file_is_found_under_both_names(
    root: Path, choose: Callable[[Path], tuple[Path, Path]], kinds: set[str]
) -> None:
    old, new = choose(root)
    old.rename(new)
    findings = audit(root).findings
    assert {f.kind for f in findings if f.place in {str(p.relative_to(root)) for p in (old, new)}} == kinds


def test_a_record_that_is_not_readable_hides_no_other_damage(root: Path) -> None:
    record, *_ = list_files(root, "lineage")
    record.write_bytes(b"")
    stored = next(path for path in list_files(root, STORE) if path.suffix != ".dir")
    stored.chmod(0o644)
    stored.write_bytes(b"x")
    (root / "data" / "a" / "text").chmod(0o644)
    (root / "data" / "a" / "text").write_bytes(b"x")
    report = audit(root)
    kinds = {finding.kind for finding in report.findings}
    assert kinds >= {"record-changed", "object-changed", "copy-changed"}
    assert any("restore it, then audit again" in words for words in report.skipped)
