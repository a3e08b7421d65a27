"""Projects in the states that documented commands are for; each is made once, and a session works on a copy."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlaif_dagster.lineage.project import Project
from tests.conftest import REPOSITORY, edit_yaml, run_rlaif
from tests.lineage.released_project import materialise_made_up
from tests.lineage.traced_project import CONSTITUTION, make_traced_project


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a session begins.

    Attributes:
        folders: The folder in which each block of commands is typed; the last one also for all further blocks.
        words: Patterns of what stands on the pages, and what is typed in its place.
    """

    folders: tuple[Path, ...]
    words: Mapping[str, str] = field(default_factory=dict)


VERDICTS = Path(__file__).with_name("verdicts.jsonl")
PERSON = {f"GIT_{role}_{what}": "somebody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

REQUIRED = "win_rate_over_half"

Prepare = Callable[[Path, Path], State]
"""Makes a state in an empty folder, from the project with two releases."""


def make_two_releases(folder: Path) -> Path:
    """A project in git whose policy was released twice, the second time by other weights of the principles.

    Nothing is required for a release, and the check that is required by default was failed.
    """
    root = make_traced_project(folder / "project")
    require(root)
    make_versions(root)
    commit(root, "one", tags=("v1", "v1.2"))
    heavier = [principle | {"weight": 2.0} for principle in CONSTITUTION["principles"]]
    edit_yaml(root / "inputs" / "constitution.yaml", lambda value: value.update(principles=heavier))
    make_versions(root)
    commit(root, "two")
    return root


def open_released(folder: Path, released: Path) -> State:
    """Two releases; everything is up to date."""
    root = shutil.copytree(released, folder / "project", symlinks=True)
    policy = Project.open(root).ledger.find_heads()["aligned_policy"].output.digest
    shutil.copyfile(VERDICTS, root / "verdicts.jsonl")
    return State(
        folders=(root,),
        words={
            r"@[0-9a-f]{8,12}": f"@{policy.removeprefix('sha256:')[:12]}",
            r"principle:concise": "principle:brief",
            r"\.venv/bin/rlaif": "rlaif",
        },
    )


def open_of_0_1_0(folder: Path, released: Path) -> State:
    """A project that version 0.1.0 made, after the upgrade."""
    del released
    with tarfile.open(REPOSITORY / "tests" / "upgrade" / "project_0_1_0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return State(folders=(folder / "project",))


def open_signed(folder: Path, released: Path) -> State:
    """The release is signed by the key `../release.key`."""
    state = open_released(folder, released)
    private, public = folder / "release.key", folder / "release.pub"
    for command in (
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)],
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    run_rlaif("sign", "--key", str(private), project=state.folders[0])
    return state


def open_refused(folder: Path, released: Path) -> State:
    """The newest evaluation failed the check that a release requires."""
    state = open_released(folder, released)
    require(state.folders[0], REQUIRED)
    return state


def open_conflict(folder: Path, released: Path) -> State:
    """`other-branch` tried other weights and took them back, so that only `data.dvc` and `lineage/` differ."""
    state = open_released(folder, released)
    [root] = state.folders
    git(root, "checkout", "-q", "-b", "other-branch", "v1")
    constitution = root / "inputs" / "constitution.yaml"
    edit_yaml(constitution, lambda value: value["principles"][0].update(weight=5.0))
    make_versions(root)
    git(root, "checkout", "-q", "v1", "--", "inputs")
    commit(root, "tried and taken back")
    git(root, "checkout", "-q", "main")
    return state


def open_shared(folder: Path, released: Path) -> State:
    """A project with a repository that others clone, a folder in the place of a remote, and another machine."""
    state = open_released(folder, released)
    [root] = state.folders
    (root / "verdicts.jsonl").unlink()
    address, remote, elsewhere = (folder / name for name in ("project.git", "remote", "elsewhere"))
    git(folder, "init", "-q", "--bare", "--initial-branch=main", str(address))
    git(root, "remote", "add", "origin", str(address))
    git(root, "push", "-q", "--set-upstream", "origin", "main")
    for made in (remote, elsewhere):
        made.mkdir()
    words = {
        r"s3://bucket/path|ssh://me@host/srv/rlaif": str(remote),
        r"ADDRESS|<your repository>": str(address),
        r"<your project>": "project",
    }
    return State(folders=(root, elsewhere), words=words)


def open_empty(folder: Path, released: Path) -> State:
    """A folder without a project, beside the examples."""
    del released
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    return State(folders=(folder,))


def require(root: Path, *checks: str) -> None:
    edit_yaml(root / "inputs" / "pipeline.yaml", lambda value: value.update(release={"require": [*checks]}))


def make_versions(root: Path) -> None:
    materialise_made_up(Project.open(root), failed=[REQUIRED])


def commit(root: Path, message: str, *, tags: tuple[str, ...] = ()) -> None:
    git(root, "add", ".")
    git(root, "commit", "-qm", message)
    for tag in tags:
        git(root, "tag", tag)


def git(root: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", *arguments], cwd=root, env=os.environ | PERSON, check=True, capture_output=True, text=True
    )
