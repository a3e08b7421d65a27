"""Going back: a past version, and the whole project as it was at a commit."""

from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.errors import CorruptVersionError, InputError, StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.time_travel import checkout_project, checkout_version
from rlaif_dagster.versioning.store import init_store
from tests.conftest import edit_yaml, run_assets, run_rlaif
from tests.lineage.audited_projects import make_project, make_text_stage, run
from tests.lineage.traced_project import make_traced_project
from tests.versioning.conftest import commit_all, read_folder, run_git


def test_any_version_that_ever_was_comes_back_verified(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for number, record in enumerate(project.ledger.records()):
        target = tmp_path / "out" / str(number)
        checkout_version(project, f"{record.asset}@{Digest.parse(record.output.digest).short}", target)
        assert str(FolderManifest.from_folder(target).digest) == record.output.digest


def test_damage_is_refused_and_no_folder_made(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    head = project.ledger.find_heads()["a"]
    for stored in (project.root / ".dvc" / "cache").rglob("files/md5/*/*"):
        if not stored.suffix:
            stored.chmod(0o644)
            stored.write_bytes(stored.read_bytes() + b"!")
            stored.chmod(0o444)
    with pytest.raises(CorruptVersionError):
        checkout_version(project, head.output.digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with pytest.raises(StorageError, match="already exists"):
        checkout_version(project, "a", project.root)
    with pytest.raises(StorageError, match="already exists"):
        checkout_project(project, "HEAD", project.root)


@pytest.mark.slow
def test_the_whole_project_comes_back_as_it_was_at_a_commit(tmp_path: Path) -> None:
    """Inputs, data.dvc and data/ are those of the commit; the audit is clean, and a run there reuses all."""
    root = make_traced_project(tmp_path / "project")
    run_assets("ai_preferences", project=root)
    commit_all(root, "first")
    before = {"data": read_folder(root / "data"), "pin": (root / "data.dvc").read_bytes()}

    def reword(constitution: dict[str, Any]) -> None:
        constitution["principles"][0]["weight"] = 9.0

    edit_yaml(root / "inputs" / "constitution.yaml", reword)
    run_assets("ai_preferences", project=root)
    assert read_folder(root / "data") != before["data"]
    commit_all(root, "second")

    past = tmp_path / "past"
    assert run_rlaif("checkout", "--all", "HEAD~1", str(past), project=root).returncode == 0
    assert {"data": read_folder(past / "data"), "pin": (past / "data.dvc").read_bytes()} == before
    assert run_rlaif("audit", project=past).returncode == 0
    assert {asset["status"] for asset in run_assets("ai_preferences", project=past).values()} == {"reused"}


def test_a_revision_that_does_not_exist_or_holds_no_ledger_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    init_store(bare)
    with pytest.raises(InputError, match="not in a git repository"):
        checkout_project(Project.open(bare), "HEAD", tmp_path / "out")
    run_git(bare, "init", "--quiet")
    commit_all(bare, "nothing yet")
    run(Project.open(bare), make_text_stage("a", "x"))
    with pytest.raises(InputError, match="no revision 'nowhere'"):
        checkout_project(Project.open(bare), "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="no lineage record was committed"):
        checkout_project(Project.open(bare), "HEAD", tmp_path / "out")
