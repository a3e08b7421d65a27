"""Laws when things break: full disks and killed processes leave the old or the new, and no litter."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlaif_dagster.versioning import scratch
from rlaif_dagster.versioning.store import Store
from tests.versioning.conftest import list_all_files, read_folder, write_folder

LIMITED = """
import resource, sys
from pathlib import Path
from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.store import Store

store = Store.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    exec(sys.argv[3])
except StorageError as error:
    print(error)
    sys.exit(7)
"""

PUBLISH_FOR_EVER = """
import sys
from pathlib import Path
from rlaif_dagster.digest import Digest
from rlaif_dagster.versioning.store import Store

store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for md5, digest in zip(sys.argv[2::2], sys.argv[3::2]):
        store.publish("model", md5, Digest.parse(digest))
"""


def run_limited(store: Store, *, max_bytes: int, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process whose files may not grow beyond a size: to it, the disk is full."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(store.root), str(max_bytes), code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_changes_nothing(store: Store, tmp_path: Path) -> None:
    small = store.add("model", write_folder(tmp_path / "small", {"a": b"1"}))
    store.pin("model", small.md5)
    store.publish("model", small.md5, small.digest)
    big_path = write_folder(tmp_path / "big", {"a": bytes(5000), "b": bytes(50_000)})
    before = list_all_files(store.root)
    finished = run_limited(store, max_bytes=10_000, code=f"store.add('model', Path({str(big_path)!r}))")
    assert finished.returncode == 7, finished.stderr
    assert "remedy: raise the file size limit" in finished.stdout
    after = list_all_files(store.root)
    [orphan] = (
        after.keys() - before.keys()
    )  # the one file stored whole before the disk was full: no tree names it
    assert after.pop(orphan) == bytes(5000)
    assert after == before


@pytest.mark.parametrize(
    "code",
    [
        "store.pin('model', '{md5}')",
        "from rlaif_dagster.digest import Digest; store.publish('model', '{md5}', Digest.parse('{digest}'))",
    ],
)
def test_a_full_disk_leaves_data_and_its_pin(store: Store, tmp_path: Path, code: str) -> None:
    older = store.add("model", write_folder(tmp_path / "older", {"a": b"1"}))
    store.pin("model", older.md5)
    store.publish("model", older.md5, older.digest)
    newer = store.add("model", write_folder(tmp_path / "newer", {"a": bytes(300), "b": b"2"}))
    before = list_all_files(store.root)
    finished = run_limited(store, max_bytes=20, code=code.format(md5=newer.md5, digest=newer.digest))
    assert finished.returncode == 7, finished.stderr
    assert list_all_files(store.root) == before


@pytest.mark.slow
def test_a_kill_while_publishing_leaves_the_old_or_the_new(store: Store, tmp_path: Path) -> None:
    contents = [
        {f"{name}/{index}": text * 2000 for index in range(30)} for name, text in (("x", b"1"), ("y", b"2"))
    ]
    versions = [
        store.add("model", write_folder(tmp_path / f"output_{number}", files))
        for number, files in enumerate(contents)
    ]
    store.publish("model", versions[0].md5, versions[0].digest)
    arguments = [text for version in versions for text in (version.md5, str(version.digest))]
    for attempt in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", PUBLISH_FOR_EVER, str(store.root), *arguments], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
        assert read_folder(store.root / "data" / "model") in contents
    changed = store.publish("model", versions[0].md5, versions[0].digest)
    assert store.publish("model", versions[1].md5, versions[1].digest) or changed
    assert read_folder(store.root / "data" / "model") == contents[1]
    assert list((store.root / ".rlaif" / "scratch").iterdir()) == []


def test_the_dead_are_cleaned_up_after_and_the_living_are_not(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"
    dead = write_folder(parent / ("d" * 32), {"half": b"written"})
    dead.with_suffix(".lock").touch()
    with scratch.scratch_folder(parent) as living:
        (living / "file").touch()
        with scratch.scratch_folder(parent) as other:
            assert not dead.exists()
            assert (living / "file").exists()
            assert other != living
    assert list(parent.iterdir()) == []


def test_only_what_a_scratch_folder_is_named_is_cleaned_up(tmp_path: Path) -> None:
    """A folder of another name, a link, a lock that is a link: none of them was made here."""
    parent, elsewhere = tmp_path / "scratch", write_folder(tmp_path / "elsewhere", {"mine": b"1"})
    write_folder(parent / "thesis", {"chapter": b"1"})
    (parent / "thesis.lock").touch()
    (parent / ("a" * 32)).symlink_to(elsewhere)
    (parent / ("a" * 32 + ".lock")).touch()
    write_folder(parent / ("b" * 32), {"mine": b"1"})
    (parent / ("b" * 32 + ".lock")).symlink_to(elsewhere / "mine")
    before = sorted(tmp_path.rglob("*"))
    scratch.remove_leftovers(parent)
    with scratch.scratch_folder(parent):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert read_folder(elsewhere) == {"mine": b"1"}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_swap_shows_the_new_and_keeps_the_old_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """On systems without an exchange of names (the patched case) two renames do it."""
    if not can_exchange:
        monkeypatch.setattr(sys, "platform", "another")
    current = write_folder(tmp_path / "current", {"old": b"1"})
    new = write_folder(tmp_path / "new", {"new": b"2"})
    scratch.swap_in(new, current)
    assert (read_folder(current), read_folder(new)) == ({"new": b"2"}, {"old": b"1"})
    scratch.swap_in(new, tmp_path / "a" / "b")
    assert read_folder(tmp_path / "a" / "b") == {"old": b"1"}
    assert not new.exists()
