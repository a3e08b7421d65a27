"""Giving disk space back: what something needs stays, the rest goes, and the audit knows why it is not there."""

import datetime
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlaif_dagster.cli.main import app
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError, InputError, StorageError
from rlaif_dagster.lineage.collecting.collect import Collection, apply_collection, plan_collection
from rlaif_dagster.lineage.collecting.notes import FOLDER, read_notes
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.lineage.sharing import pull_project, push_project
from rlaif_dagster.lineage.time_travel import checkout_project
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.project import share_cache
from rlaif_dagster.versioning.store import init_store
from rlaif_dagster.versioning.tree import Tree
from tests.docs.pages import read_examples
from tests.lineage.audited_projects import (
    STORE,
    audit,
    list_files,
    make_stage,
    make_text_stage,
    name_findings,
    run,
    snapshot,
)
from tests.versioning.conftest import commit_all, run_dvc, run_git

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def run_all(project: Project, text: str) -> None:
    """Brings three assets up to date: `c` reads `a` and `b`, and `b` comes out the same whatever `a` is."""
    run(project, make_text_stage("a", text))
    run(project, make_text_stage("b", "", ("a",)))
    run(project, make_text_stage("round_2/c", text, ("a", "b")))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five states of three assets, one of them returned to; a tag, a branch and an untagged commit."""
    root = tmp_path_factory.mktemp("collected") / "project"
    root.mkdir()
    run_git(root, "init", "--quiet", "--initial-branch=main")
    init_store(root)
    project = Project.open(root)
    for text, name in (("one", "tag"), ("two", "branch"), ("three", None), ("four", None), ("three", None)):
        run_all(project, text)
        commit_all(root, text)
        if name is not None:
            run_git(root, name, f"the-{name}")
    run_all(project, "five")
    return root


def versions_of(root: Path, *names: str) -> dict[str, str]:
    """The text that each version of some assets holds, by digest."""
    project = Project.open(root)
    return {
        record.output.digest: str(record.recipe_parts.settings["setting"])
        for record in project.ledger.records()
        if record.asset in names
    }


def name_kept(root: Path, collection: Collection) -> set[str]:
    """The texts of the kept versions of `a`."""
    texts = versions_of(root, "a")
    return {texts[version.digest] for version in collection.kept if version.asset == "a"}


def drop_scratch(files: Mapping[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: taken for name, taken in files.items() if not name.startswith(".rlaif")}


def collect(root: Path, *keep: str) -> Collection:
    return apply_collection(Project.open(root), keep, now=NOW)


@pytest.mark.slow
def test_a_dry_run_changes_nothing(root: Path) -> None:
    project = Project.open(root)
    assert project.store.has_remote is False  # opening the store corrects the copy's own settings
    before = snapshot(root)
    collection = plan_collection(project, ["releases"], now=NOW)
    assert collection.objects
    assert drop_scratch(snapshot(root)) == drop_scratch(before)


def test_the_newest_and_all_that_git_names_stay(root: Path) -> None:
    """`three` is at HEAD, `one` and `two` at a tag and a branch, `five` is newest; `four` goes alone."""
    collection = collect(root, "releases")
    assert name_kept(root, collection) == {"one", "two", "three", "five"}
    assert sorted(version.asset for version in collection.pruned) == ["a", "round_2/c"]
    reasons = {version.reason for version in collection.kept}
    assert {"newest", "newest at HEAD", "newest at the-tag", "newest at the-branch"} >= reasons
    for revision in ("HEAD", "the-tag", "the-branch"):
        past = checkout_project(Project.open(root), revision, root.parent / revision)
        for asset in ("a", "b", "round_2/c"):
            assert audit(past.root, asset).findings == ()


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("releases", {"five"}),
        ("last:1", {"five"}),
        ("last:2", {"five", "three"}),
        ("last:3", {"five", "three", "four"}),
        ("days:36500", {"one", "two", "three", "four", "five"}),
        ("days:0", {"five"}),
    ],
)
def test_rules_keep_what_they_say(root: Path, keep: str, kept: set[str]) -> None:
    """Without git only the newest stays whatever the rules."""
    shutil.rmtree(root / ".git")
    assert name_kept(root, plan_collection(Project.open(root), [keep], now=NOW)) == kept


def test_a_version_stays_with_all_that_it_was_made_from(root: Path) -> None:
    shutil.rmtree(root / ".git")
    texts = {text: digest for digest, text in versions_of(root, "round_2/c").items()}
    collection = collect(root, f"round_2/c@{texts['two'][7:19]}")
    assert name_kept(root, collection) == {"five", "two"}
    assert audit(root, texts["two"]).pruned == ()


def find_objects(project: Project, record: MaterialisationRecord) -> set[str]:
    cache = project.store.cache
    tree = cache.read_tree(record.output.md5)
    return set() if tree is None else {record.output.md5, *(md5 for _, md5 in tree.files)}


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_whatever_is_kept_nothing_kept_is_lost_and_the_rest_goes(
    template: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Kept versions are whole, and the store holds their objects, pinned states of `data/`, and nothing else."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("any") / "project"))
    if data.draw(st.booleans(), label="without git"):
        shutil.rmtree(root / ".git")
    project = Project.open(root)
    records = project.ledger.records()
    targets = st.sampled_from([f"{record.asset}@{record.output.digest}" for record in records])
    rules = st.one_of(
        targets, st.integers(0, 6).map("last:{}".format), st.sampled_from(["days:0", "releases"])
    )
    keep = data.draw(st.lists(rules, min_size=1, max_size=3), label="keep")
    expected: set[str] = set()
    planned = plan_collection(project, keep, now=NOW)
    kept = {(version.asset, version.digest) for version in planned.kept}
    for record in records:
        if (record.asset, record.output.digest) in kept:
            expected |= find_objects(project, record)
    pruned = apply_collection(project, keep, now=NOW)
    assert pruned == planned
    assert not kept & {(version.asset, version.digest) for version in pruned.pruned}
    everything = {(record.asset, record.output.digest) for record in records}
    assert kept | {(version.asset, version.digest) for version in pruned.pruned} == everything
    fresh = Project.open(root)
    for record in records:
        manifest = None
        if (record.asset, record.output.digest) in kept:
            manifest = fresh.store.verify(record.output.md5, Digest.parse(record.output.digest))
            assert manifest is not None
    left = {path.parent.name + path.name for path in list_files(root, STORE)}
    states = {md5 for md5 in left - expected if md5.endswith(".dir")}
    assert left - states == expected
    assert len(states) <= 4  # the working tree's, HEAD's, the tag's and the branch's
    report = audit(root)
    assert report.findings == ()
    assert len(report.pruned) == len(pruned.pruned)
    assert apply_collection(Project.open(root), keep, now=NOW).objects == ()


def test_what_was_pruned_is_made_anew_and_has_to_be_there_again(root: Path) -> None:
    """The newer record counts: bytes that go missing after it are lost, not pruned."""
    shutil.rmtree(root / ".git")
    collect(root, "last:1")
    project = Project.open(root)
    outcome = run(project, make_text_stage("a", "one"))
    assert outcome.status == "computed"
    report = audit(root)
    assert report.findings == ()
    assert not any(
        version.version.startswith("a@" + outcome.record.output.digest[7:19]) for version in report.pruned
    )
    md5 = outcome.record.output.md5
    project.store.cache.path_of(md5).unlink()
    assert "object-missing" in {finding.kind for finding in audit(root).findings}


def test_lost_bytes_are_told_from_those_pruned(root: Path) -> None:
    collect(root, "releases")
    head = Project.open(root).ledger.find_heads()["a"]
    for md5 in find_objects(Project.open(root), head):
        (root / STORE / md5[:2] / md5[2:]).unlink()
    findings = audit(root).findings
    assert {finding.kind for finding in findings} == {"object-missing"}
    assert all(
        head.output.digest[7:19] in finding.expected or "data/" in finding.expected for finding in findings
    )


def test_a_note_that_is_dropped_or_changed_is_found(root: Path) -> None:
    """Without it, what was pruned is missing; and it shows that newer records were removed."""
    collect(root, "releases")
    (note,) = list_files(root, f"lineage/{FOLDER}")
    data = note.read_bytes()
    note.unlink()
    assert {finding.kind for finding in audit(root).findings} == {"object-missing"}
    note.write_bytes(data.replace(b"releases", b"releasee"))
    findings = name_findings(audit(root).findings)
    assert ("record-changed", note.relative_to(root).as_posix()) in findings
    note.write_bytes(data)
    newest = Project.open(root).ledger.records()[-1].record_id
    (root / "lineage" / f"{newest}.json").unlink()
    assert ("record-missing", f"lineage/{newest}.json") in name_findings(audit(root).findings)


@pytest.mark.parametrize("name", ["notes.txt", f"{'0' * 64}.json"])
def test_another_file_among_the_notes_is_found(root: Path, name: str) -> None:
    collect(root, "releases")
    (root / "lineage" / FOLDER / name).write_text("x")
    kind = "unknown-file" if name == "notes.txt" else "record-changed"
    assert name_findings(audit(root).findings) == [(kind, f"lineage/{FOLDER}/{name}")]


@pytest.mark.slow
def test_the_remote_stays_as_it_is_and_brings_back_what_is_wanted(root: Path, tmp_path: Path) -> None:
    run_dvc(root, "remote", "add", "--default", "team", str(tmp_path / "remote"))
    push_project(Project.open(root), progress=ignore_progress)
    before = snapshot(tmp_path / "remote")
    collection = collect(root, "releases")
    assert push_project(Project.open(root), progress=ignore_progress).lost == ()
    pull_project(Project.open(root), heads_only=False, progress=ignore_progress)
    assert (
        plan_collection(Project.open(root), ["releases"], now=NOW).objects == ()
    )  # nothing was fetched again
    assert snapshot(tmp_path / "remote") == before
    project = Project.open(root, uses_remote=True)
    assert run(project, make_text_stage("a", "four")).status == "reused"
    assert collection.pruned
    assert audit(root).findings == ()


@pytest.fixture
def sharing(tmp_path: Path) -> Path:
    """Three versions of an asset, without git; the first two have a file in common that the third has not."""
    init_store(tmp_path)
    project = Project.open(tmp_path)
    for text, common in (("one", "old"), ("two", "old"), ("three", "new")):

        def write(folder: Path, text: str = text, common: str = common) -> None:
            (folder / "text").write_text(text)
            (folder / "common").write_text(common)

        run(project, make_stage("a", write, setting=text))
    return tmp_path


def list_trees_of(project: Project, record: MaterialisationRecord) -> list[Path]:
    """The tree object of a version, then those of whole states of `data/` that hold the version."""
    cache = project.store.cache
    own = cache.read_tree(record.output.md5)
    assert own is not None
    (text,) = (md5 for path, md5 in own.files if path == "text")
    names = (path.parent.name + path.name for path in list_files(project.root, STORE) if path.suffix)
    trees = {name: tree for name in names if (tree := cache.read_tree(name)) is not None}
    states = [name for name, tree in trees.items() if ("a/text", text) in tree.files]
    return [cache.path_of(name) for name in (record.output.md5, *states)]


def test_what_is_kept_can_still_be_had_though_its_tree_comes_back_after_a_collection(sharing: Path) -> None:
    """Without a tree here nothing names the objects of the first version; the ledger knows its bytes."""
    project = Project.open(sharing)
    first, second, _ = project.ledger.records()
    trees = {path: path.read_bytes() for path in list_trees_of(project, first)}
    assert len(trees) == 2
    for path in trees:
        path.unlink()
    collection = collect(sharing, f"a@{first.output.digest}")
    assert [version.digest for version in collection.pruned] == [second.output.digest]
    tree, data = next(iter(trees.items()))
    tree.write_bytes(data)
    store = Project.open(sharing).store
    assert store.verify(first.output.md5, Digest.parse(first.output.digest)) is not None


def test_a_kept_version_whose_tree_lies_in_a_whole_state_alone_outlives_that_state(sharing: Path) -> None:
    """As after `dvc pull`, which brings no tree of an asset; the state is one that nothing pins any more."""
    project = Project.open(sharing)
    first = project.ledger.records()[0]
    own, state = list_trees_of(project, first)
    own.unlink()
    collect(sharing, f"a@{first.output.digest}")
    assert not state.exists()
    store = Project.open(sharing).store
    assert store.verify(first.output.md5, Digest.parse(first.output.digest)) is not None
    assert audit(sharing).findings == ()


def test_work_that_was_cut_off_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note comes first: whatever is left is accounted for, and goes next time."""
    planned = plan_collection(Project.open(root), ["releases"], now=NOW)
    removed: list[Path] = []
    unlink = Path.unlink

    def fail_later(path: Path, missing_ok: bool = False) -> None:
        if STORE in path.as_posix():
            removed.append(path)
            if len(removed) == 3:
                raise PermissionError(13, "cut off", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", fail_later)
    with pytest.raises(StorageError, match="cut off"):
        collect(root, "releases")
    monkeypatch.undo()
    assert audit(root).findings == ()
    assert collect(root, "releases").objects == planned.objects[2:]
    assert audit(root).findings == ()


def test_objects_that_no_record_accounts_for_are_left_alone(root: Path) -> None:
    run_dvc_object = root / STORE / "28" / "32e21254f4d3b0ed755a827d07ce58"
    run_dvc_object.parent.mkdir(exist_ok=True)
    run_dvc_object.write_bytes(b"added\n")
    collect(root, "releases")
    assert run_dvc_object.read_bytes() == b"added\n"


def test_a_file_of_a_version_that_only_another_ledger_names_stays(root: Path) -> None:
    """As on a branch whose records are not in the working tree: its trees are here, and what they name stays."""
    cache = Project.open(root).store.cache
    going = [
        md5 for md5 in plan_collection(Project.open(root), ["releases"], now=NOW).objects if ".dir" not in md5
    ]
    tree = Tree((("elsewhere", going[0]),))
    cache.write_tree(tree)
    collect(root, "releases")
    assert [md5 for md5 in going if cache.path_of(md5).is_file()] == going[:1]


def test_a_cache_behind_a_link_may_be_shared(root: Path, tmp_path: Path) -> None:
    cache = root / ".dvc" / "cache"
    shutil.move(cache, tmp_path / "shared")
    cache.symlink_to(tmp_path / "shared")
    with pytest.raises(StorageError, match="may be shared"):
        collect(root, "releases")


@pytest.mark.slow
def test_nothing_is_collected_while_versions_travel(root: Path, tmp_path: Path) -> None:
    """What a pull just brought, no record may name yet; what a push is about to send has to stay."""
    run_dvc(root, "remote", "add", "--default", "team", str(tmp_path / "remote"))
    refused: list[str] = []

    def collect_in_between(what: str, done: int, total: int, note: str = "") -> None:
        with pytest.raises(StorageError, match="a run is in progress") as caught:
            collect(root, "releases")
        refused.append(re.findall(r"in progress \((\w+)\)", str(caught.value))[0])

    push_project(Project.open(root), progress=collect_in_between)
    pull_project(Project.open(root), heads_only=True, progress=collect_in_between)
    assert set(refused) == {"push", "pull"}
    assert collect(root, "releases").pruned


def test_what_must_not_be_done_is_refused_with_the_remedy(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a rule"):
        collect(root, "some")
    with pytest.raises(InputError, match="no record of"):
        collect(root, "a@ffff")
    with hold_run(Project.open(root), "a-run"), pytest.raises(StorageError, match="a run is in progress"):
        collect(root, "releases")
    tree = next(path for path in list_files(root, STORE) if path.suffix == ".dir")
    data = tree.read_bytes()
    tree.chmod(0o644)
    tree.write_bytes(data + b" ")
    with pytest.raises(CorruptVersionError):
        collect(root, "releases")
    tree.write_bytes(data)
    other = Path(shutil.copytree(root, tmp_path / "other"))
    share_cache(other, root / ".dvc" / "cache")
    with pytest.raises(StorageError, match="may be shared"):
        collect(other, "releases")
    assert read_notes(root / "lineage") == []


def test_every_command_on_the_page_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (example,) = [one for one in read_examples("gc.md") if one.language == "console"]
    commands = [shlex.split(line.removeprefix("$ rlaif ")) for line in example.text.splitlines()]
    assert len(commands) == 4
    for arguments in commands:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["gc", "--keep", "releases", "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == {"applied", "keep", "kept", "pruned", "objects", "num_bytes"}
