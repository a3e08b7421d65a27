"""Laws of versions: stored as DVC stores them, verified by our own hashing, shown whole."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.errors import CorruptVersionError, StorageError
from rlaif_dagster.versioning.store import Store
from tests.versioning.conftest import list_all_files, read_folder, run_dvc, write_folder

FILES = {"table.parquet": b"PAR1 rows", "model/config.json": b"{}", "model/weights": bytes(300), "empty": b""}


@pytest.mark.slow
def test_add_stores_what_dvc_add_stores(store: Store, tmp_path: Path) -> None:
    """The same objects, with the same bytes and the same protection."""
    version = store.add("prompts", write_folder(tmp_path / "output", FILES))
    write_folder(store.root / "data", FILES)
    ours = {path: path.stat().st_mode for path in store.cache.folder.rglob("files/md5/*/*")}
    before = list_all_files(store.cache.folder)
    run_dvc(store.root, "add", "--quiet", "data")
    assert {path: path.stat().st_mode for path in store.cache.folder.rglob("files/md5/*/*")} == ours
    assert list_all_files(store.cache.folder) == before
    assert f"md5: {version.md5}" in (store.root / "data.dvc").read_text()


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "é", "x.txt"]), min_size=1, max_size=3)
        .map("/".join)
        .map("f_{}".format),
        st.binary(max_size=40),
        min_size=1,
        max_size=4,
    ).filter(lambda files: not any(one.startswith(other + "/") for one in files for other in files))
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_version_round_trips(
    store: Store, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    output = write_folder(folder / "output", files)
    version = store.add("x", output)
    assert version.manifest == FolderManifest.from_folder(output)
    assert version.digest == version.manifest.digest
    assert version.size == sum(map(len, files.values()))
    assert store.add("y", output).md5 == version.md5
    assert store.has(version.md5)
    assert store.verify(version.md5, version.digest) == version.manifest
    store.view(version.md5, folder / "view")
    store.checkout(version.md5, version.digest, folder / "copy")
    store.publish("x", version.md5, version.digest)
    for copy in (output, folder / "view", folder / "copy", store.root / "data" / "x"):
        assert read_folder(copy) == files
        assert FolderManifest.from_folder(copy).digest == version.digest


def test_adding_touches_neither_data_nor_its_pin(store: Store, tmp_path: Path) -> None:
    output = write_folder(tmp_path / "output", FILES)
    store.add("prompts", output)
    assert read_folder(output) == FILES
    assert not (store.root / "data").exists()
    assert not (store.root / "data.dvc").exists()
    assert list(store.cache.scratch_path.iterdir()) == []


def test_moving_takes_the_files_and_nothing_that_has_another_name(store: Store, tmp_path: Path) -> None:
    """A link in an output, of either kind, names bytes that are not the output's own: those are copied."""
    own = store.add("x", write_folder(tmp_path / "own", FILES), move=True)
    assert read_folder(tmp_path / "own") == {}
    assert own == store.add("x", write_folder(tmp_path / "same", FILES))
    elsewhere = write_folder(tmp_path / "elsewhere", {"linked": b"1", "pointed": b"2"})
    output = write_folder(tmp_path / "output", {"own": b"3"})
    os.link(elsewhere / "linked", output / "linked")
    (output / "pointed").symlink_to(elsewhere / "pointed")
    version = store.add("x", output, move=True)
    for name in ("linked", "pointed"):
        (elsewhere / name).write_bytes(b"edited")
    assert read_folder(elsewhere) == {"linked": b"edited", "pointed": b"edited"}
    assert store.verify(version.md5, version.digest) is not None
    store.publish("x", version.md5, version.digest, verified=True)
    assert read_folder(store.root / "data" / "x") == {"linked": b"1", "pointed": b"2", "own": b"3"}


def test_a_big_file_is_hashed_across_its_blocks(store: Store, tmp_path: Path) -> None:
    for number_of_bytes in (9_000_001, 2 << 20):  # blocks and a rest, and no rest
        data = os.urandom(number_of_bytes)
        version = store.add("x", write_folder(tmp_path / "output", {"weights": data}))
        [entry] = version.manifest.files
        assert (entry.size, entry.digest) == (number_of_bytes, Digest.from_bytes(data))
        assert store.cache.path_of(_md5_of(data)).read_bytes() == data
        assert store.publish("x", version.md5, version.digest)
        assert (store.root / "data" / "x" / "weights").read_bytes() == data


@pytest.mark.parametrize("mode", [0o444, 0o644])
@pytest.mark.parametrize("name", sorted(name for name, data in FILES.items() if data))
def test_every_damaged_object_is_found_and_kept(store: Store, tmp_path: Path, name: str, mode: int) -> None:
    """DVC trusts a read-only object unseen, and deletes a writable one that is damaged; we do neither."""
    version = store.add("prompts", write_folder(tmp_path / "output", FILES))
    path = store.cache.path_of(_md5_of(FILES[name]))
    path.chmod(0o644)
    damaged = bytes([FILES[name][0] ^ 1]) + FILES[name][1:]
    path.write_bytes(damaged)
    path.chmod(mode)
    before = list_all_files(store.root)
    with pytest.raises(CorruptVersionError) as caught:
        store.verify(version.md5, version.digest)
    for told in (str(path), _md5_of(FILES[name]), _md5_of(damaged), "remedy"):
        assert told in str(caught.value)
    for attempt in (
        lambda: store.publish("prompts", version.md5, version.digest),
        lambda: store.checkout(version.md5, version.digest, tmp_path / "copy"),
        lambda: store.add("prompts", tmp_path / "output"),
    ):
        with pytest.raises(CorruptVersionError, match=path.name):
            attempt()
    assert list_all_files(store.root) == before
    assert not (tmp_path / "copy").exists()


def test_a_damaged_tree_object_is_found_and_kept(store: Store, tmp_path: Path) -> None:
    version = store.add("prompts", write_folder(tmp_path / "output", FILES))
    path = store.cache.path_of(version.md5)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    before = list_all_files(store.root)
    with pytest.raises(CorruptVersionError, match=version.md5):
        store.verify(version.md5, version.digest)
    assert list_all_files(store.root) == before


def test_a_wrong_record_is_told_from_damage(store: Store, tmp_path: Path) -> None:
    version = store.add("prompts", write_folder(tmp_path / "output", FILES))
    with pytest.raises(CorruptVersionError, match=str(version.digest)):
        store.verify(version.md5, Digest.from_bytes(b"another"))


def test_a_version_without_all_its_objects_is_missing(store: Store, tmp_path: Path) -> None:
    version = store.add("prompts", write_folder(tmp_path / "output", FILES))
    store.cache.path_of(_md5_of(FILES["table.parquet"])).unlink()
    assert not store.has(version.md5)
    assert store.verify(version.md5, version.digest) is None
    assert store.verify("0" * 32 + ".dir", version.digest) is None
    for attempt in (
        lambda: store.publish("prompts", version.md5, version.digest),
        lambda: store.view(version.md5, tmp_path / "view"),
        lambda: store.checkout(version.md5, version.digest, tmp_path / "copy"),
    ):
        with pytest.raises(StorageError, match="neither in the cache"):
            attempt()
    assert not (store.root / "data").exists()
    assert store.add("prompts", tmp_path / "output") == version
    assert store.has(version.md5)


def test_publishing_replaces_the_whole_and_nothing_when_equal(store: Store, tmp_path: Path) -> None:
    older = store.add("model", write_folder(tmp_path / "older", {"gone": b"1", "kept": b"2"}))
    newer = store.add("model", write_folder(tmp_path / "newer", {"kept": b"2", "sub/new": b"3"}))
    shown = store.root / "data" / "model"
    assert store.publish("model", older.md5, older.digest)
    inode = (shown / "kept").stat().st_ino
    assert not store.publish("model", older.md5, older.digest)
    assert (shown / "kept").stat().st_ino == inode
    assert store.publish("model", newer.md5, newer.digest)
    assert read_folder(shown) == {"kept": b"2", "sub/new": b"3"}
    (shown / "kept").write_bytes(b"9")  # same size, edited by hand
    assert store.publish("model", newer.md5, newer.digest)
    assert read_folder(shown) == {"kept": b"2", "sub/new": b"3"}
    assert list((store.root / ".rlaif" / "scratch").iterdir()) == []


def test_a_published_file_is_the_persons_own(store: Store, tmp_path: Path) -> None:
    """Writing to the working copy must not write into the cache."""
    version = store.add("model", write_folder(tmp_path / "output", {"a": b"1"}))
    store.publish("model", version.md5, version.digest)
    with (store.root / "data" / "model" / "a").open("ab") as stream:
        stream.write(b"more")
    assert store.verify(version.md5, version.digest) is not None


def test_a_view_holds_links_to_read_only_objects(store: Store, tmp_path: Path) -> None:
    version = store.add("model", write_folder(tmp_path / "output", FILES))
    store.view(version.md5, tmp_path / "view")
    links = [path for path in (tmp_path / "view").rglob("*") if not path.is_dir()]
    assert len(links) == len(FILES)
    assert all(path.is_symlink() and path.stat().st_mode & 0o777 == 0o444 for path in links)
    with pytest.raises(StorageError, match="already exists"):
        store.view(version.md5, tmp_path / "view")


def test_libraries_read_through_a_view(store: Store, tmp_path: Path) -> None:
    import pyarrow as pa

    from rlaif_dagster.tables import read_table, write_table

    output = tmp_path / "output"
    output.mkdir()
    write_table(output / "rows.parquet", [{"n": 1}, {"n": 2}], pa.schema([("n", pa.int64())]))
    version = store.add("prompts", output)
    store.view(version.md5, tmp_path / "view")
    assert read_table(tmp_path / "view" / "rows.parquet") == [{"n": 1}, {"n": 2}]


def _md5_of(data: bytes) -> str:
    import hashlib

    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", [".dvcignore", "sub/.git/config", "line\nbreak", "back\\slash"])
def test_what_dvc_cannot_store_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="another name"):
        store.add("x", write_folder(tmp_path / "output", {name: b"1"}))


def test_only_files_make_a_version(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(StorageError, match="at least one"):
        store.add("x", tmp_path / "empty")
    with pytest.raises(StorageError, match="at least one"):
        store.add("x", tmp_path / "absent")
    (tmp_path / "empty" / "link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="not a regular file"):
        store.add("x", tmp_path / "empty")
    (tmp_path / "empty" / "link").unlink()
    os.mkfifo(tmp_path / "empty" / "pipe")
    with pytest.raises(StorageError, match="not a regular file"):
        store.add("x", tmp_path / "empty")
