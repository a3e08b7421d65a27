"""A project on disk with a real git and a real DVC, and hands for both."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rlaif_dagster.versioning.git import init_git
from rlaif_dagster.versioning.store import Store, init_store


@pytest.fixture
def project_path(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    init_git(root)
    return root


@pytest.fixture
def store(project_path: Path) -> Store:
    return init_store(project_path)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_dvc(root: Path, *arguments: str) -> str:
    """Runs the real `dvc` command; a failure shows what it said."""
    finished = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def run_git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout


def commit_all(root: Path, message: str) -> None:
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--message", message)


def list_all_files(folder: Path) -> dict[str, bytes]:
    """Every file of a project but its locks: to show that nothing changed."""
    locks = (".rlaif/locks/", ".dvc/tmp/lock")
    return {name: data for name, data in read_folder(folder).items() if not name.startswith(locks)}
