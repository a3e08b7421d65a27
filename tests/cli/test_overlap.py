"""Commands that overlap on one project."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif_dagster.lineage.project import Project
from tests.conftest import run_rlaif


@pytest.mark.slow
def test_first_runs_at_once_leave_a_project_that_works(default_project: Path) -> None:
    """Both make Dagster's databases, the store's pin and the ledger; neither damages the other's."""
    command = [sys.executable, "-m", "rlaif_dagster.cli.main", "run", "constitution", "prompts"]
    running = [
        subprocess.Popen(
            [*command, "--project", str(default_project)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    again = run_rlaif("run", "constitution", "prompts", "--json", project=default_project)
    assets = json.loads(again.stdout.splitlines()[-1])["assets"]
    assert {asset["status"] for asset in assets.values()} == {"reused"}
    project = Project.open(default_project)
    heads = project.ledger.find_heads()
    assert {name: project.store.find_pinned(name) for name in heads} == {
        name: head.output.md5 for name, head in heads.items()
    }
