"""Laws with a remote: all that was named arrives, comes back, and is checked on the way."""

import errno
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import CorruptVersionError, StorageError
from rlaif_dagster.versioning.store import Store, Version
from tests.versioning.conftest import commit_all, list_all_files, read_folder, run_dvc, run_git, write_folder


def make_version(store: Store, asset: str, text: str) -> Version:
    output = store.root.parent / "outputs" / asset / text
    return store.add(
        asset, write_folder(output, {"a": text.encode(), "sub/b": text.encode() * 2, "c": b"same"})
    )


def pin_and_publish(store: Store, version: Version) -> None:
    store.pin(version.asset, version.md5)
    store.publish(version.asset, version.md5, version.digest)


def add_remote(store: Store) -> tuple[Store, Path]:
    folder = store.root.parent / "remote"
    with (store.root / ".dvc" / "config").open("a") as stream:
        stream.write(f"    remote = team\n['remote \"team\"']\n    url = {folder}\n")
    return Store.open(store.root, uses_remote=True), folder


def clone(store: Store, name: str = "clone") -> Store:
    if run_git(store.root, "status", "--porcelain"):
        commit_all(store.root, "pin")
    root = store.root.parent / name
    run_git(store.root.parent, "clone", "--quiet", str(store.root), str(root))
    return Store.open(root, uses_remote=True)


@pytest.mark.slow
def test_dvc_push_and_pull_bring_all_that_is_pinned_to_a_clone(store: Store) -> None:
    """With DVC's own commands: what we store is an ordinary DVC project."""
    store, _ = add_remote(store)
    older = make_version(store, "prompts", "0")
    pin_and_publish(store, older)
    newer, other = make_version(store, "prompts", "2"), make_version(store, "round_2/model", "1")
    for version in (newer, other):
        pin_and_publish(store, version)
    run_dvc(store.root, "push", "--quiet")
    teammate = clone(store)
    run_dvc(teammate.root, "pull", "--quiet")
    assert read_folder(teammate.root / "data") == read_folder(store.root / "data")
    for version in (newer, other):
        assert teammate.verify(version.md5, version.digest) == version.manifest
        assert teammate.find_pinned(version.asset) == version.md5
    assert teammate.verify(older.md5, older.digest) is None
    remote_only = clone(store, "remote_only")
    assert remote_only.verify(other.md5, other.digest) == other.manifest
    shutil.rmtree(store.root / "data" / "prompts")
    run_dvc(store.root, "checkout", "--quiet")
    assert read_folder(store.root / "data" / "prompts") == {"a": b"2", "sub/b": b"22", "c": b"same"}
    assert run_git(store.root, "status", "--porcelain") == ""
    assert store.verify(older.md5, older.digest) == older.manifest


def test_a_push_takes_versions_that_git_never_saw_to_a_remote_added_later(store: Store) -> None:
    """`dvc push --all-commits` uses each commit's own settings, and passes over a remote added later."""
    versions = [make_version(store, "prompts", text) for text in ("1", "2", "3")]
    for version in versions:
        store.pin("prompts", version.md5)
        commit_all(store.root, version.md5)
    unpinned = make_version(store, "prompts", "4")
    with pytest.raises(StorageError, match="no default DVC remote"):
        store.push([unpinned.md5])
    store, folder = add_remote(store)
    result = store.push([version.md5 for version in (*versions, unpinned)])
    assert (result.remote, result.num_objects, result.num_sent) == (
        "team",
        13,
        13,
    )  # 4 x 2 files, "c", 4 trees
    teammate = clone(store)
    for version in (*versions, unpinned):
        assert teammate.verify(version.md5, version.digest) == version.manifest
    assert store.push([unpinned.md5]).num_sent == 0
    half_sent = next(folder.rglob(unpinned.md5[2:]))
    half_sent.write_bytes(b"half")
    assert store.push([unpinned.md5]).num_sent == 1


def name_objects(folder: Path, store: Store) -> set[str]:
    """The objects that a remote has whole."""
    names = (path.parent.name + path.name for path in folder.glob("files/md5/*/*"))
    return {
        name
        for name in names
        if (folder / f"files/md5/{name[:2]}/{name[2:]}").read_bytes()
        == store.cache.path_of(name).read_bytes()
    }


def cut_off(at: int, way: str) -> Callable[..., None]:
    """What puts files on a disk that fails at the n-th."""
    from dvc.fs import LocalFileSystem

    put_file = LocalFileSystem.put_file
    places = itertools.count()

    def put_some(filesystem: LocalFileSystem, source: str, target: str, **options: Any) -> None:
        place = next(places)
        if place == at or (place > at and way == "all others fail"):
            if way == "half there":
                Path(target).write_bytes(Path(source).read_bytes()[:-1])
            raise OSError(errno.EIO, "cut off")
        put_file(filesystem, source, target, **options)

    return put_some


@pytest.mark.parametrize("way", ["one fails", "all others fail", "half there"])
def test_a_push_cut_off_at_any_object_leaves_no_tree_without_its_files(
    store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """And the next push sends the rest, and again what was half there."""
    from dvc.fs import LocalFileSystem

    versions = [make_version(store, "prompts", text) for text in ("1", "2", "3")]
    store, folder = add_remote(store)
    files = {}
    for version in versions:
        tree = store.cache.read_tree(version.md5)
        assert tree is not None
        files[version.md5] = {md5 for _, md5 in tree.files}
    everything = set(files).union(*files.values())
    assert len(everything) == 10  # 3 x 2 files, "c", 3 trees
    for at in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        with monkeypatch.context() as patched:
            patched.setattr(LocalFileSystem, "put_file", cut_off(at, way))
            with pytest.raises(StorageError, match="cut off"):
                store.push(list(files))
        there = name_objects(folder, store)
        assert all(there >= named for md5, named in files.items() if md5 in there)
        store.push(list(files))
        assert name_objects(folder, store) == everything


@pytest.mark.parametrize("damage", ["no file", "no tree", "half a tree", "another tree"])
def test_a_version_that_the_remote_has_in_part_is_lost_and_not_elsewhere(store: Store, damage: str) -> None:
    store, folder = add_remote(store)
    whole, part = make_version(store, "prompts", "1"), make_version(store, "prompts", "2")
    store.push([whole.md5, part.md5])
    shutil.rmtree(store.cache.folder)
    tree = next(folder.rglob(part.md5[2:]))
    data = {
        "no file": tree.read_bytes(),
        "no tree": b"",
        "half a tree": tree.read_bytes()[:-1],
        "another tree": next(folder.rglob(whole.md5[2:])).read_bytes(),
    }[damage]
    tree.unlink()
    if data:
        tree.write_bytes(data)
    if damage == "no file":
        next(path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"22").unlink()
    result = store.push([whole.md5, part.md5])
    assert (result.elsewhere, result.lost) == ((whole.md5,), (part.md5,))


def test_a_damaged_object_is_not_pushed(store: Store) -> None:
    store, folder = add_remote(store)
    version = make_version(store, "prompts", "1")
    path = max(store.cache.folder.rglob("files/md5/*/*"), key=lambda path: path.stat().st_size)
    path.chmod(0o644)
    path.write_bytes(b"[]" if path.suffix else b"x")
    before = list_all_files(store.root)
    with pytest.raises(CorruptVersionError, match=path.name):
        store.push([version.md5])
    assert list_all_files(store.root) == before
    assert not list(folder.rglob("*.dir"))


def test_damage_in_the_remote_is_found_and_not_taken(store: Store) -> None:
    store, folder = add_remote(store)
    version = make_version(store, "prompts", "1")
    store.push([version.md5])
    teammate = clone(store)
    remote_path = next(path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"11")
    remote_path.chmod(0o644)
    remote_path.write_bytes(b"12")
    with pytest.raises(CorruptVersionError, match=remote_path.name):
        teammate.verify(version.md5, version.digest)
    assert not teammate.has(version.md5)
    assert remote_path.read_bytes() == b"12"
    remote_path.write_bytes(b"11")
    assert teammate.verify(version.md5, version.digest) == version.manifest


def test_a_clone_pins_beside_the_versions_that_only_the_remote_has(store: Store) -> None:
    store, _ = add_remote(store)
    theirs, other = make_version(store, "theirs", "1"), make_version(store, "mine", "1")
    for version in (theirs, other):
        pinned = store.pin(version.asset, version.md5).md5
    size_line = [line for line in (store.root / "data.dvc").read_text().splitlines() if "size" in line]
    store.push([theirs.md5, other.md5, pinned])
    teammate = clone(store)
    mine = make_version(teammate, "mine", "2")
    result = teammate.pin("mine", mine.md5)
    assert (result.parent_lost, teammate.find_pinned("theirs")) == (False, theirs.md5)
    assert not teammate.has(theirs.md5)
    assert size_line == [
        line for line in (teammate.root / "data.dvc").read_text().splitlines() if "size" in line
    ]


def test_a_remote_that_lacks_a_version_says_so(store: Store) -> None:
    store, folder = add_remote(store)
    version = make_version(store, "prompts", "1")
    teammate = clone(store)
    assert not teammate.fetch(version.md5)
    store.push([version.md5])
    assert teammate.fetch(version.md5)
    lone = clone(store, "lone")
    next(path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"11").unlink()
    assert not lone.fetch(version.md5)
    assert lone.verify(version.md5, version.digest) is None


def test_a_remote_that_cannot_be_reached_is_a_storage_error(store: Store) -> None:
    store, folder = add_remote(store)
    folder.write_bytes(b"a file, where a folder should be")
    version = make_version(store, "prompts", "1")
    with pytest.raises(StorageError, match=r"DVC remote 'team'(.|\n)*remedy"):
        store.push([version.md5])
    with pytest.raises(StorageError, match="DVC remote 'team'"):
        clone(store).fetch(version.md5)
