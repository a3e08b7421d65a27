"""Any number of processes at once on one project: nothing is lost, nothing is read half-written."""

import os
from functools import partial
from pathlib import Path

import pytest

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.store import init_store

from .audited_projects import audit, make_text_stage, run
from .processes import start, wait_for

NUM_WRITERS = 24
NUM_TURNS = 6
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    init_store(folder)
    return folder


def find_pinned(project: Project) -> dict[str, str | None]:
    return {asset: project.store.find_pinned(asset) for asset in project.ledger.find_heads()}


def make_asset_of_its_own(root: Path, number: int) -> None:
    run(Project.open(root), make_text_stage(f"asset_{number}", f"text {number}"))


def make_version(root: Path, number: int) -> None:
    run(Project.open(root), make_text_stage("a", f"text {number}"))


def make_versions_in_turn(root: Path, number: int) -> None:
    project = Project.open(root)
    for turn in range(1, 1 + NUM_TURNS):
        run(project, make_text_stage(NAMES[number], f"text {turn}"))


def read_until_stopped(root: Path, stop: Path, number: int) -> None:
    follower, num_seen = Project.open(root), 0
    while not stop.exists():
        for project in (follower, Project.open(root)):
            assert sorted(project.ledger.find_heads()) == list(NAMES)
            num_records = len(project.ledger.records())
            assert num_records >= num_seen
            num_seen = num_records
            pinned = find_pinned(project)
            assert pinned.items() <= {
                (record.asset, record.output.md5) for record in project.ledger.records()
            }
            text, bytes_ = read_at_once(root / "data" / NAMES[number], "text", "more/bytes")
            assert bytes_ == text.replace(":", ", once more:") * 3


def read_at_once(folder: Path, *names: str) -> list[str]:
    """Reads files of one folder; again where another takes its name, and it is removed, before all are read."""
    while True:
        opened = os.open(folder, os.O_RDONLY)
        try:
            return [Path(f"/proc/self/fd/{opened}", name).read_text() for name in names]
        except FileNotFoundError:
            assert os.fstat(opened).st_ino != folder.stat().st_ino  # a folder that is shown is whole
        finally:
            os.close(opened)


@pytest.mark.slow
def test_assets_made_by_24_processes_at_once_are_all_recorded_pinned_and_shown(root: Path) -> None:
    """The project is empty before, so that they also make its folders and files at once."""
    codes = wait_for(start(partial(make_asset_of_its_own, root), NUM_WRITERS, gate=root.parent / "gate"))
    assert codes == [0] * NUM_WRITERS
    project = Project.open(root)
    records = project.ledger.records()
    assert sorted(record.asset for record in records) == sorted(f"asset_{n}" for n in range(NUM_WRITERS))
    assert [record.sequence for record in records] == list(range(1, NUM_WRITERS + 1))
    assert find_pinned(project) == {record.asset: record.output.md5 for record in records}
    for number in range(NUM_WRITERS):
        text = (root / "data" / f"asset_{number}" / "text").read_text()
        assert text == f"asset_{number}: text {number}"
    assert audit(root).findings == ()


@pytest.mark.slow
def test_versions_of_one_asset_made_by_24_processes_at_once_end_with_the_newest(root: Path) -> None:
    """`data.dvc` and `data/` show the newest record, whichever process comes last."""
    codes = wait_for(start(partial(make_version, root), NUM_WRITERS, gate=root.parent / "gate"))
    assert codes == [0] * NUM_WRITERS
    project = Project.open(root)
    assert [record.sequence for record in project.ledger.records()] == list(range(1, NUM_WRITERS + 1))
    head = project.ledger.find_heads()["a"]
    assert find_pinned(project) == {"a": head.output.md5}
    assert (root / "data" / "a" / "text").read_text() == f"a: {head.recipe_parts.settings['setting']}"
    assert audit(root).findings == ()


@pytest.mark.slow
def test_readers_see_whole_records_pins_and_folders_while_writers_write(root: Path) -> None:
    for name in NAMES:
        run(Project.open(root), make_text_stage(name, "text 0"))
    gate, stop = root.parent / "gate", root.parent / "stop"
    readers = start(partial(read_until_stopped, root, stop), len(NAMES), gate=gate)
    writers = start(partial(make_versions_in_turn, root), len(NAMES), gate=gate)
    codes = wait_for(writers)
    stop.touch()
    assert codes == [0] * len(NAMES)
    assert wait_for(readers) == [0] * len(NAMES)
    assert len(Project.open(root).ledger.records()) == len(NAMES) * (1 + NUM_TURNS)
    assert audit(root).findings == ()
