"""A disk that cannot be written: a clean error, nothing changed, and queries answer all the same."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.store import init_store

from .audited_projects import make_text_stage, run, snapshot

MATERIALISE = """
import sys
from pathlib import Path
from rlaif_dagster.errors import StorageError
from tests.lineage.audited_projects import Project, make_text_stage, run

project = Project.open(Path(sys.argv[1]))
print(project.ledger.find_heads()["a"].asset, project.ledger.records()[0].asset)
try:
    run(project, make_text_stage("b", "x", ("a",)))
except StorageError as error:
    print(error)
    sys.exit(7)
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def heed_permissions() -> None:
    """Takes from root the right to write what is read-only; others do not have it (Linux)."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
        raise OSError("the capability cannot be dropped")


def set_writable(folder: Path, *, writable: bool) -> None:
    subprocess.run(["chmod", "-R", "u+w" if writable else "a-w", str(folder)], check=True)


def snapshot_of_results(root: Path) -> dict[str, object]:
    """Everything but locks, the index and objects that no record names."""
    own = (".rlaif", ".dvc/cache", ".dvc/tmp")
    return {name: taken for name, taken in snapshot(root).items() if not name.startswith(own)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("place", [".", ".dvc", "lineage"])
def test_a_read_only_place_is_a_clean_error_and_can_be_read(tmp_path: Path, place: str) -> None:
    init_store(tmp_path)
    run(Project.open(tmp_path), make_text_stage("a", "x"))
    set_writable(tmp_path / place, writable=False)

    before = snapshot_of_results(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MATERIALISE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=heed_permissions,
    )
    after = snapshot_of_results(tmp_path)
    set_writable(tmp_path / place, writable=True)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("a a\n")
    assert "remedy: give this user read and write permission there" in done.stdout
    assert after == before
    assert run(Project.open(tmp_path), make_text_stage("b", "x", ("a",))).status == "computed"
