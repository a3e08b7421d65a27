"""A run with nothing to do says what it says otherwise, verifies what it verifies otherwise, and needs no Dagster."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, run_assets, run_rlaif

pytestmark = pytest.mark.slow

ASSETS = ("constitution", "prompts")


@pytest.fixture
def project(default_project: Path) -> Path:
    """A project whose two cheap assets are up to date."""
    shutil.copytree(
        REPOSITORY / "examples" / "recorded" / "inputs", default_project / "inputs", dirs_exist_ok=True
    )
    run_assets(*ASSETS, project=default_project)
    return default_project


def loads_dagster(project: Path) -> bool:
    """Runs the command; it must report both assets as reused."""
    done = run_rlaif("run", *ASSETS, "--json", project=project, import_times=True)
    assert done.stdout.count('"status": "reused"') == len(ASSETS)
    return any(line.split("|")[-1].strip() == "dagster" for line in done.stderr.splitlines())


def count_events(project: Path) -> int:
    log = project / ".dagster" / "history" / "runs" / "index.db"
    query = "select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'"
    with closing(sqlite3.connect(f"file:{log}?immutable=1", uri=True)) as connection:  # leaves no trace
        return int(connection.execute(query).fetchone()[0])


def test_it_loads_no_dagster_and_shows_what_is_recorded(project: Path) -> None:
    shown = project / "data" / "constitution" / "constitution.json"
    content = shown.read_bytes()
    shown.chmod(0o644)
    shown.write_bytes(content + b" ")
    assert not loads_dagster(project)
    assert shown.read_bytes() == content


def test_dagster_hears_of_versions_that_its_log_may_have_lost(project: Path) -> None:
    told = count_events(project)
    shutil.rmtree(project / ".dagster")
    assert loads_dagster(project)
    assert count_events(project) == told
    assert not loads_dagster(project)


def test_a_log_that_somebody_wrote_to_is_told_again(project: Path) -> None:
    log = project / ".dagster" / "history" / "runs" / "index.db"
    os.utime(log)
    assert loads_dagster(project)


def test_a_damaged_object_is_named_and_left_as_evidence(project: Path) -> None:
    shown = (project / "data" / "constitution" / "constitution.json").read_bytes()
    [stored] = [
        path
        for path in (project / ".dvc" / "cache").rglob("*")
        if path.is_file() and path.read_bytes() == shown
    ]
    stored.chmod(0o644)
    stored.write_bytes(shown[:-1] + b"?")
    done = run_rlaif("run", *ASSETS, project=project, check=False)
    assert done.returncode == 2
    assert "damaged: expected" in done.stderr
    assert stored.read_bytes() == shown[:-1] + b"?"
