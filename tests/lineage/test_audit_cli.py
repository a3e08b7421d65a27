"""`rlaif audit`: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_rlaif

from .audited_projects import snapshot

pytestmark = pytest.mark.slow


def test_a_sound_project_is_0(root: Path) -> None:
    before = snapshot(root)
    done = run_rlaif("audit", "--json", project=root, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {
        "findings": [],
        "skipped": ["Dagster's event log: this project has none"],
        "overrides": [],
        "pruned": [],
        "signatures": [],
        "records": 9,
        "objects": 21,
        "bytes": said["bytes"],
        "events": None,
    }
    assert snapshot(root) == before


def test_findings_are_1_and_each_has_a_kind_a_place_and_a_remedy(root: Path) -> None:
    stored = root / "data" / "round_2" / "c" / "text"
    stored.chmod(0o644)
    stored.write_bytes(b"tampered")
    before = snapshot(root)
    for arguments in (["audit", "--json"], ["audit", "round_2/c", "--json"]):
        done = run_rlaif(*arguments, project=root, check=False)
        assert done.returncode == 1
        [finding] = json.loads(done.stdout.splitlines()[-1])["findings"]
        assert (finding["kind"], finding["place"]) == ("copy-changed", "data/round_2/c/text")
        assert all(finding[name] for name in ("found", "expected", "remedy"))
        assert "remedy: " in done.stderr
    assert run_rlaif("audit", "b", project=root, check=False).returncode == 0
    assert snapshot(root) == before


def test_what_cannot_be_audited_is_2(root: Path) -> None:
    for arguments, folder in ((["audit", "nothing"], root), (["audit"], root.parent)):
        done = run_rlaif(*arguments, project=folder, check=False)
        assert done.returncode == 2
        assert "remedy: " in done.stderr
        assert done.stdout == ""
