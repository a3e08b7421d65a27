"""Laws of `data.dvc`: as `dvc add data` writes it, one asset at a time, nobody's update lost."""

import multiprocessing
import shutil
import threading
import time
from pathlib import Path

import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.store import Store, Version
from tests.versioning.conftest import list_all_files, run_dvc, write_folder

NUM_WRITERS = 24


def make_version(store: Store, tmp_path: Path, asset: str, text: str) -> Version:
    return store.add(
        asset, write_folder(tmp_path / f"{asset}-{text}", {"a": f"{asset} {text}".encode(), "sub/b": b"1"})
    )


def pin(store: Store, version: Version) -> str:
    return store.pin(version.asset, version.md5).md5


@pytest.mark.slow
def test_pinning_writes_what_dvc_add_writes(store: Store, tmp_path: Path) -> None:
    for asset in ("prompts", "round_2/model", "judge"):
        version = make_version(store, tmp_path, asset, "1")
        pin(store, version)
        store.publish(asset, version.md5, version.digest)
    ours = (store.root / "data.dvc").read_bytes()
    tree = store.cache.path_of(str(store.read_pinned())).read_bytes()
    assert run_dvc(store.root, "status") == "Data and pipelines are up to date.\n"
    (store.root / "data.dvc").unlink()
    shutil.rmtree(store.cache.folder)
    run_dvc(store.root, "add", "--quiet", "data")
    assert (store.root / "data.dvc").read_bytes() == ours
    assert store.cache.path_of(str(store.read_pinned())).read_bytes() == tree


def test_the_file_depends_on_what_is_pinned_and_not_on_the_order(store: Store, tmp_path: Path) -> None:
    first, second = (make_version(store, tmp_path, asset, "1") for asset in ("first", "second"))
    detour = make_version(store, tmp_path, "first", "22")
    for version in (first, second):
        pin(store, version)
    text = (store.root / "data.dvc").read_bytes()
    (store.root / "data.dvc").unlink()
    for version in (detour, second, first):
        pin(store, version)
    assert (store.root / "data.dvc").read_bytes() == text


def test_pinning_one_asset_keeps_the_others(store: Store, tmp_path: Path) -> None:
    older, newer, other = (
        make_version(store, tmp_path, asset, text) for asset, text in (("a", "1"), ("a", "2"), ("b", "1"))
    )
    for version in (older, other, newer):
        pin(store, version)
    assert (store.find_pinned("a"), store.find_pinned("b")) == (newer.md5, other.md5)
    assert store.find_pinned("c") is None
    for version in (older, newer, other):
        assert store.verify(version.md5, version.digest) is not None


def test_a_pin_that_changes_nothing_writes_nothing(store: Store, tmp_path: Path) -> None:
    version = make_version(store, tmp_path, "a", "1")
    assert store.pin("a", version.md5).changed
    path = store.root / "data.dvc"
    before = (path.stat().st_ino, path.stat().st_mtime_ns)
    result = store.pin("a", version.md5)
    assert (result.changed, result.md5) == (False, store.read_pinned())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_what_a_person_wrote_in_the_file_stays(store: Store, tmp_path: Path) -> None:
    pin(store, make_version(store, tmp_path, "a", "1"))
    path = store.root / "data.dvc"
    path.write_text(f"# all that runs make\n{path.read_text()}  desc: the data\nmeta:\n  owner: me\n")
    pin(store, make_version(store, tmp_path, "a", "2"))
    text = path.read_text()
    assert text.startswith("# all that runs make\nouts:\n- md5: ")
    assert text.endswith("  hash: md5\n  path: data\n  desc: the data\nmeta:\n  owner: me\n")


def test_a_fresh_clone_whose_parent_tree_is_lost_keeps_the_known_versions(
    store: Store, tmp_path: Path
) -> None:
    """`dvc add data/asset` fails there: the tree that git pins is in neither cache nor remote."""
    kept, lost, mine = (make_version(store, tmp_path, asset, "1") for asset in ("kept", "lost", "mine"))
    for version in (kept, lost, mine):
        pin(store, version)
    text = (store.root / "data.dvc").read_bytes()
    for path in store.cache.folder.glob("files/md5/*/*.dir"):
        if path not in map(store.cache.path_of, (kept.md5, mine.md5)):
            path.unlink()
    newer = make_version(store, tmp_path, "mine", "2")
    known = {version.asset: version.md5 for version in (kept, lost, mine)}
    result = store.pin("mine", newer.md5, known=known)
    assert (result.parent_lost, result.dropped) == (True, ("lost",))
    pinned = [store.find_pinned(asset) for asset in ("kept", "lost", "mine")]
    assert pinned == [kept.md5, None, newer.md5]
    again = make_version(store, tmp_path, "lost", "1")
    for version in (again, mine):
        assert not store.pin(version.asset, version.md5).parent_lost
    assert (store.root / "data.dvc").read_bytes() == text


def test_reproducing_a_lost_parent_shows_no_difference(store: Store, tmp_path: Path) -> None:
    version = make_version(store, tmp_path, "a", "1")
    pin(store, version)
    parent_path = store.cache.path_of(str(store.read_pinned()))
    parent_path.unlink()
    inode = (store.root / "data.dvc").stat().st_ino
    assert not store.pin("a", version.md5).changed
    assert (store.root / "data.dvc").stat().st_ino == inode
    assert parent_path.is_file()


@pytest.mark.parametrize(
    "text",
    [
        "outs:\n<<<<<<< ours\n- md5: x\n",
        "outs: []\n",
        "[]",
        "outs:\n- md5: aa.dir\n  path: data\n",
        "outs:\n- path: other\n",
        "cmd: x\nouts:\n- path: data\n",
    ],
)
def test_a_pin_that_cannot_be_read_is_left_alone(store: Store, tmp_path: Path, text: str) -> None:
    version = make_version(store, tmp_path, "a", "1")
    (store.root / "data.dvc").write_text(text)
    with pytest.raises(StorageError, match="remedy"):
        pin(store, version)
    assert (store.root / "data.dvc").read_text() == text


def test_a_version_that_is_not_here_is_not_pinned(store: Store, tmp_path: Path) -> None:
    pin(store, make_version(store, tmp_path, "a", "1"))
    before = list_all_files(store.root)
    with pytest.raises(StorageError, match="neither in the cache"):
        store.pin("a", "0" * 32 + ".dir")
    assert list_all_files(store.root) == before


def work(root: Path, index: int) -> None:
    """One writer: its own asset, and one that all share."""
    store = Store.open(root)
    for asset in (f"asset_{index:02}", "shared"):
        output = write_folder(root.parent / "outputs" / asset / str(index), {"rows": asset.encode()})
        version = store.add(asset, output)
        store.pin(asset, version.md5)
        store.publish(asset, version.md5, version.digest)


@pytest.mark.slow
def test_many_processes_lose_no_update(store: Store) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["rlaif_dagster.versioning.store", "dvc.config", "dvc.lock", "dvc.utils.serialize"]
    )
    writers = [context.Process(target=work, args=(store.root, index)) for index in range(NUM_WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0] * NUM_WRITERS
    check_all_there(store)


@pytest.mark.slow
def test_many_threads_lose_no_update(store: Store) -> None:
    failures: list[BaseException] = []

    def work_or_tell(index: int) -> None:
        try:
            work(store.root, index)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=work_or_tell, args=(index,)) for index in range(NUM_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failures == []
    check_all_there(store)


def check_all_there(store: Store) -> None:
    assets = {f"asset_{index:02}" for index in range(NUM_WRITERS)} | {"shared"}
    assert {path.name for path in (store.root / "data").iterdir()} == assets
    assert all(store.find_pinned(asset) is not None for asset in assets)
    assert run_dvc(store.root, "status") == "Data and pipelines are up to date.\n"
    assert not list(store.cache.scratch_path.iterdir())
    assert not list((store.root / ".rlaif" / "scratch").iterdir())


def test_a_pin_waits_for_a_dvc_command(store: Store, tmp_path: Path) -> None:
    """DVC itself prunes after three seconds; here a `dvc` command holds its lock while we pin."""
    from dvc.lock import make_lock

    version = make_version(store, tmp_path, "a", "1")
    (store.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    lock = make_lock(str(store.root / ".dvc" / "tmp" / "lock"))
    lock.lock()
    pinning = threading.Thread(target=pin, args=(store, version))
    pinning.start()
    time.sleep(0.2)
    assert not (store.root / "data.dvc").exists()
    lock.unlock()
    pinning.join(timeout=30)
    assert store.find_pinned("a") == version.md5
