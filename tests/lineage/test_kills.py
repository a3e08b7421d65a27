"""Killed before any one of its changes to the disk, a process leaves the old or the new, and the next completes it.

Changes that SQLite makes are not among these: Dagster's are met at random instants, in tests/acceptance.
"""

import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store

from .audited_projects import list_files, make_text_stage, run
from .processes import start, wait_for

ANNOUNCED = ("open", "os.mkdir", "os.rename", "os.remove", "os.symlink", "os.chmod", "shutil.rmtree")
CHANGES_A_FILE = os.O_TRUNC | os.O_APPEND
STRIDE = 5
"""Of so many changes one is tried in `make test`."""


def is_change(event: str, path: Path, flags: object) -> bool:
    """Says whether what Python announces changes the disk; a folder's removal counts once, not file by file."""
    if event == "open" and isinstance(flags, int):
        return bool(flags & CHANGES_A_FILE) or bool(flags & os.O_CREAT and not path.exists())
    if event == "os.mkdir":
        return not path.exists()
    return event != "os.remove" or path.is_absolute()


def materialise_until_killed(root: Path, last_change: int, _number: int) -> None:
    """Makes a new version of b, and dies when it is about to change the disk for the n-th time."""
    num_changes = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal num_changes
        if event in ANNOUNCED and is_change(event, Path(str(arguments[0])), arguments[-1]):
            num_changes += 1
            if num_changes == last_change:
                os.kill(os.getpid(), signal.SIGKILL)

    project = Project.open(root)
    sys.addaudithook(count)
    run(project, make_text_stage("b", "new", ("a",)))


def describe_files(root: Path) -> tuple[list[str], int, bytes]:
    """The names of all files but records, the number of those, and what `data.dvc` pins."""
    names = [path.relative_to(root).as_posix() for path in list_files(root, ".")]
    others = sorted(name for name in names if not name.startswith("lineage/"))
    return others, len(names) - len(others), (root / "data.dvc").read_bytes()


@pytest.mark.slow
def test_a_kill_before_any_change_of_the_disk_leaves_what_the_next_run_completes(
    tmp_path: Path, whole: bool
) -> None:
    template, undisturbed = tmp_path / "template", tmp_path / "undisturbed"
    template.mkdir()
    init_store(template)
    for name, inputs in (("a", ()), ("b", ("a",))):
        run(Project.open(template), make_text_stage(name, "old", inputs))
    old_pin = (template / "data.dvc").read_bytes()
    shutil.copytree(template, undisturbed)
    run(Project.open(undisturbed), make_text_stage("b", "new", ("a",)))
    new_pin = (undisturbed / "data.dvc").read_bytes()
    expected = describe_files(undisturbed)
    code: int | None = -signal.SIGKILL
    last_change = 0
    while code == -signal.SIGKILL:
        last_change += 1 if whole else STRIDE
        root = tmp_path / f"killed-{last_change}"
        shutil.copytree(template, root)
        work = partial(materialise_until_killed, root, last_change)
        [code] = wait_for(start(work, 1, gate=tmp_path / "gate"))
        assert (root / "data.dvc").read_bytes() in (old_pin, new_pin)
        assert (root / "data" / "b" / "text").read_text() in ("b: old", "b: new")
        run(Project.open(root), make_text_stage("b", "new", ("a",)))
        assert describe_files(root) == expected, f"killed before change {last_change}"
        assert (
            audit_project(Project.open(root), target=None, events=None, progress=ignore_progress).findings
            == ()
        )
        shutil.rmtree(root)
    assert code == 0
    assert last_change > 50
