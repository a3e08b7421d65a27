"""A clone full of links: whatever is behind them is neither removed nor written, by no command."""

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.inputs.release import RELEASE_FILE, Hold
from rlaif_dagster.lineage.collecting.collect import apply_collection
from rlaif_dagster.lineage.decisions import write_hold
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.running import bury_dead_runs
from rlaif_dagster.lineage.time_travel import checkout_project
from rlaif_dagster.versioning.store import Store, init_store
from tests.lineage.audited_projects import make_text_stage, run
from tests.lineage.hostile_clones import READING, call, call_all, clone, track_link
from tests.versioning.conftest import commit_all, run_git, write_folder

FOLDERS = (
    ".rlaif",
    ".rlaif/scratch",
    ".rlaif/work",
    ".rlaif/locks",
    ".rlaif/locks/runs",
    ".rlaif/journal",
    ".rlaif/tensorboard",
    ".dvc",
    ".dvc/cache",
    ".dvc/cache/rlaif-scratch",
    ".dvc/cache/files",
    ".dvc/cache/files/md5",
    ".dvc/tmp",
    ".dvc/site",
    ".dagster",
    ".dagster/history",
    "lineage",
    "lineage/collected",
    "signatures",
    "data",
)
FILES = (
    ".rlaif/ledger-index-1",
    ".rlaif/locks/ledger.lock",
    ".rlaif/locks/start.lock",
    ".rlaif/scratch/" + "c" * 32 + ".lock",
    ".dvc/tmp/lock",
    ".dvc/config.local",
    ".dagster/.rlaif.lock",
    ".dagster/dagster.tmp",
    "data.dvc",
)

REPLACED = (".dvc/config.local", "data.dvc")
"""Files that are written whole and then take the link's place, so that none is refused."""


def fill(folder: Path) -> Path:
    """A person's folder, in which names of every kind that this program removes stand, each with a lock beside it."""
    for parent in ("", "scratch", "work", "rlaif-scratch", "journal", "locks/runs", "runs", "files/md5/ab"):
        names = ("thesis", "a" * 32, "b" * 12, "e" * 30, "constitution", "prompts", "ledger")
        for name in names:
            write_folder(folder / parent / name, {"chapter": b"1", "sub/chapter": b"2"})
            (folder / parent / f"{name}.lock").write_bytes(b"mine")
        (folder / parent / "push-999999999.lock").write_bytes(b"mine")
        (folder / parent / f"{'d' * 32}.landed").write_bytes(b"mine")
    return folder


def snapshot(folder: Path) -> Mapping[str, tuple[object, ...]]:
    """Every file and folder: bytes, mode and time of change."""
    paths = {"": folder} | {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: (
            path.read_bytes() if path.is_file() else None,
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
        )
        for name, path in paths.items()
    }


@pytest.fixture(scope="module")
def origin(released: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("origin") / "project"
    return Path(shutil.copytree(released.root, root, symlinks=True))


@pytest.mark.slow
@pytest.mark.parametrize("place", FOLDERS + FILES)
def test_what_a_tracked_link_leads_to_stays_as_it_is(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """By every command that reads, and by a run; and the link is named where something is refused."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("RLAIF_PROJECT", "")
    theirs = Path(shutil.copytree(origin, tmp_path / "theirs", symlinks=True))
    victim = tmp_path / "victim"
    if place in FOLDERS:
        fill(victim)
        track_link(theirs, place, victim)
    else:
        write_folder(victim, {"file": b"mine"})
        track_link(theirs, place, victim / "file")
    root = clone(theirs, tmp_path / "mine")
    if not (root / ".dvc" / "cache").exists() and place != ".dvc":  # so that there is something to work on
        shutil.copytree(origin / ".dvc" / "cache", root / ".dvc" / "cache")
    before = snapshot(victim)
    results = list(call_all(root, READING))
    assert snapshot(victim) == before
    constitution = root / "inputs" / "constitution.yaml"
    constitution.write_text(
        "principles: [{id: brief, text: Be brief.}]\n"
    )  # so that the run has something to store
    results.append(call(root, "run", "constitution"))
    assert snapshot(victim) == before
    told = [str(result.exception) for result in results if isinstance(result.exception, StorageError)]
    assert place in REPLACED or any(f"{root / place}: a symbolic link" in words for words in told)


def test_a_scratch_folder_that_is_a_link_removes_nothing_without_git_either(tmp_path: Path) -> None:
    """An archive that was unpacked has no git: a link among this machine's own files is refused all the same."""
    store, victim = init_store(tmp_path / "project"), fill(tmp_path / "victim")
    before = snapshot(victim)
    shutil.rmtree(store.root / ".rlaif")
    (store.root / ".rlaif").mkdir()
    (store.root / ".rlaif" / "scratch").symlink_to(victim)
    with pytest.raises(StorageError, match=r"\.rlaif/scratch: a symbolic link(.|\n)*remedy"):
        Project.open(store.root)
    with pytest.raises(StorageError, match=r"\.rlaif/scratch: a symbolic link"):
        store.remove_leftovers()
    assert snapshot(victim) == before


def test_links_of_this_users_own_are_followed(tmp_path: Path) -> None:
    """`data/` and the cache may lie on another disk, as long as git does not track the link."""
    root = tmp_path / "project"
    root.mkdir()
    run_git(root, "init", "--quiet")
    init_store(root)
    for name in ("data", "cache"):
        (tmp_path / "disk" / name).mkdir(parents=True)
    (root / "data").symlink_to(tmp_path / "disk" / "data")
    (root / ".dvc" / "cache").symlink_to(tmp_path / "disk" / "cache")
    commit_all(root, "all but the links")
    project = Project.open(root)
    run(project, make_text_stage("a", "x"))
    assert (tmp_path / "disk" / "data" / "a" / "text").read_text() == "a: x"
    run(Project.open(root), make_text_stage("a", "y"))
    assert (root / "data").is_symlink()
    assert (tmp_path / "disk" / "data" / "a" / "text").read_text() == "a: y"
    run_git(root, "add", "--force", "data")
    with pytest.raises(StorageError, match=r"data: a symbolic link that git tracks(.|\n)*remedy"):
        Project.open(root)


def test_a_round_that_is_a_link_is_not_replaced_behind_it(store: Store, tmp_path: Path) -> None:
    victim = write_folder(tmp_path / "victim", {"model/thesis": b"1"})
    version = store.add("round_2/model", write_folder(tmp_path / "output", {"x": b"1"}))
    (store.root / "data").mkdir()
    (store.root / "data" / "round_2").symlink_to(victim)
    before = snapshot(victim)
    with pytest.raises(StorageError, match="round_2: a symbolic link"):
        store.publish("round_2/model", version.md5, version.digest)
    assert snapshot(victim) == before


@pytest.mark.parametrize("place", ["files", "files/md5"])
def test_a_collection_removes_nothing_behind_a_link_inside_the_cache(
    store: Store, tmp_path: Path, place: str
) -> None:
    """Another project's objects, of the same names."""
    project = Project.open(store.root)
    for text in ("one", "two"):
        run(project, make_text_stage("a", text))
    folder = project.store.cache.folder / place
    theirs = folder.rename(tmp_path / "theirs")
    folder.symlink_to(theirs)
    before = snapshot(theirs)
    with pytest.raises(StorageError, match=f"{place}: a symbolic link"):
        apply_collection(project, ["releases"], now=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))
    with pytest.raises(StorageError, match=f"{place}: a symbolic link"):
        run(project, make_text_stage("a", "three"))
    assert snapshot(theirs) == before


def test_a_checkout_writes_through_no_link_of_the_revision(store: Store, tmp_path: Path) -> None:
    """Settings of a new clone are this user's own; a revision may track a link in their place."""
    project = Project.open(store.root)
    run(project, make_text_stage("a", "x"))
    write_folder(tmp_path / "victim", {"settings": b"mine"})
    (store.root / ".dvc" / "config.local").unlink()
    track_link(store.root, ".dvc/config.local", tmp_path / "victim" / "settings")
    commit_all(store.root, "all")
    with pytest.raises(StorageError, match=r"config\.local: a symbolic link"):
        checkout_project(project, "HEAD", tmp_path / "out")
    assert (tmp_path / "victim" / "settings").read_bytes() == b"mine"


def test_a_decision_is_not_removed_behind_a_tracked_link(store: Store, tmp_path: Path) -> None:
    victim = write_folder(tmp_path / "victim", {Path(RELEASE_FILE).name: b"mine"})
    track_link(store.root, str(Path(RELEASE_FILE).parent), victim)
    before = snapshot(victim)
    project = Project.open(store.root)
    with pytest.raises(StorageError, match="inputs: a symbolic link that git tracks"):
        write_hold(project, Hold(file=project.root / RELEASE_FILE, settings=None))
    assert snapshot(victim) == before


def test_the_locks_of_runs_are_told_from_other_files(store: Store) -> None:
    project = Project.open(store.root)
    folder = write_folder(
        project.scratch / "locks" / "runs", {"thesis.lock": b"mine", "run-999999999.lock": b""}
    )
    reported: list[str] = []
    bury_dead_runs(project, reported.append)
    assert reported == ["run"]
    assert [path.name for path in folder.iterdir()] == ["thesis.lock"]
