"""Laws of the git state: the commit, and whether a person changed something."""

from pathlib import Path

import pytest

from rlaif_dagster.versioning.git import GitState, init_git, is_in_git, read_git_state
from tests.versioning.conftest import commit_all, run_git

UNKNOWN = GitState(commit=None, dirty=None)


def test_without_a_commit_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_git_state(tmp_path) == UNKNOWN
    assert read_git_state(tmp_path / "absent") == UNKNOWN
    init_git(tmp_path)
    assert read_git_state(tmp_path) == UNKNOWN
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_state(tmp_path) == UNKNOWN


def test_a_change_a_new_file_and_a_staged_one_are_dirty(project_path: Path) -> None:
    (project_path / "constitution.yaml").write_text("1")
    (project_path / ".gitignore").write_text("/.rlaif/\n")
    commit_all(project_path, "first")
    clean = GitState(commit=run_git(project_path, "rev-parse", "HEAD").strip(), dirty=False)
    assert read_git_state(project_path) == clean
    (project_path / ".rlaif").mkdir()
    (project_path / ".rlaif" / "lock").touch()
    assert read_git_state(project_path) == clean
    (project_path / "constitution.yaml").write_text("2")
    assert read_git_state(project_path).dirty is True
    run_git(project_path, "add", "--all")
    assert read_git_state(project_path).dirty is True
    run_git(project_path, "reset", "--quiet", "--hard")
    (project_path / "new.yaml").touch()
    assert read_git_state(project_path).dirty is True


def test_what_runs_write_is_not_a_persons_change(project_path: Path) -> None:
    (project_path / "data.dvc").write_text("1")
    commit_all(project_path, "first")
    (project_path / "data.dvc").write_text("2")
    (project_path / "lineage").mkdir()
    (project_path / "lineage" / "record.json").touch()
    assert read_git_state(project_path).dirty is False
    assert read_git_state(project_path, outputs=()).dirty is True


def test_only_the_projects_own_folder_counts(project_path: Path) -> None:
    inner = project_path / "inner"
    inner.mkdir()
    (inner / "file").touch()
    commit_all(project_path, "first")
    (project_path / "outside").touch()
    assert read_git_state(inner).dirty is False
    assert is_in_git(inner)
    init_git(inner)
    assert not (inner / ".git").exists()


def test_variables_that_name_another_repository_mislead_nobody(
    project_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project_path / "file").touch()
    commit_all(project_path, "first")
    commit = read_git_state(project_path).commit
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert read_git_state(project_path).commit == commit is not None
