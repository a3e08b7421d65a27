"""Reads the git commit of a run, and past files, through the `git` command."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlaif_dagster.errors import InputError, StorageError

_ONLY_REPOSITORIES_OF_GIT = ("-c", "safe.bareRepository=explicit")
RUN_OUTPUTS = ("data.dvc", "lineage")
"""The paths that a run itself changes; they do not count as edits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """A commit, and whether files differ from it.

    Attributes:
        commit: The full hex id of HEAD; None outside a repository, before the first commit, or without
            git.
        dirty: Whether a file of the project is changed, staged or new (ignored ones aside); None without
            a commit.
    """

    commit: str | None
    dirty: bool | None


def read_git_state(root: Path, *, outputs: Sequence[str] = RUN_OUTPUTS) -> GitState:
    """Reads HEAD and the state of the files below a folder.

    Args:
        root: The project.
        outputs: Paths in it that do not count as changes.
    """
    commit = _run_git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return GitState(commit=None, dirty=None)
    excluded = [f":(exclude){path}" for path in outputs]
    changes = _run_git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".", *excluded)
    return GitState(commit=commit.strip(), dirty=None if changes is None else bool(changes))


def is_in_git(root: Path) -> bool:
    """Says whether a folder is in a git work tree."""
    return _run_git(root, "rev-parse", "--is-inside-work-tree") == "true\n"


def is_tracked(root: Path, path: str) -> bool:
    """Says whether git tracks a file or link of a project, so that a clone brings it.

    Files of its submodules count. Also True if there is a repository but git does not answer (another user's
    repository, or git is missing).

    Args:
        root: The project.
        path: Its path relative to the project, in any letter case, because some file systems ignore case.
    """
    listed = _run_git(root, "ls-files", "--recurse-submodules", "--", f":(icase){path}")
    if listed is None:
        return any((folder / ".git").exists() for folder in (root, *root.parents))
    return bool(listed)


def init_git(root: Path) -> None:
    """Makes a folder a git repository (branch main, no commit), unless it is in one.

    Raises:
        StorageError: If git is missing or refuses.
    """
    if is_in_git(root):
        return
    root.mkdir(parents=True, exist_ok=True)
    if _run_git(root, "init", "--quiet", "--initial-branch=main") is None:
        raise StorageError(
            f"{root}: `git init` failed\n  remedy: install git (2.28 or newer) and try the command there by hand"
        )


def clone_at(root: Path, revision: str, target: Path) -> Path:
    """Clones the repository of a project as it was at a revision; returns the project's folder in it.

    Args:
        root: The project.
        revision: A commit, branch or tag.
        target: The new repository's folder.

    Raises:
        InputError: If the project is in no repository, or the repository has no such revision.
        StorageError: If git cannot write the folder.
    """
    commit = _find_commit(root, revision)
    top = _run_git(root, "rev-parse", "--show-toplevel") or ""
    prefix = _run_git(root, "rev-parse", "--show-prefix") or ""
    parent = target.absolute().parent
    for arguments in (
        ["clone", "--quiet", "--no-checkout", top.strip(), str(target.absolute())],
        ["-C", str(target.absolute()), "checkout", "--quiet", "--detach", commit],
    ):
        if _run_git(parent, *arguments) is None:
            raise StorageError(
                f"{target}: git cannot make the folder\n  remedy: name a folder that you can write to"
            )
    return target / prefix.strip()


def list_files_at(root: Path, revision: str, folder: str) -> list[str]:
    """Lists the files of a folder as committed at a revision, by their paths relative to the project.

    Raises:
        InputError: If the project is in no repository, or the repository has no such revision.
    """
    commit = _find_commit(root, revision)
    listed = _run_git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/") or ""
    return [path for path in listed.split("\0") if path]


def read_file_at(root: Path, revision: str, path: str) -> bytes:
    """Reads a file as committed at a revision.

    Raises:
        InputError: If there is no such revision, or no such file in it.
    """
    text = _run_git(root, "show", f"{_find_commit(root, revision)}:./{path}")
    if text is None:
        raise InputError(
            f"{revision!r} has no file {path}", file=root, remedy="choose another revision from `git log`"
        )
    return text.encode("utf-8", "surrogateescape")


def list_refs(root: Path) -> dict[str, str]:
    """Lists every commit of HEAD, a branch (also remote), a tag or the stash, with one of their names.

    Empty outside a repository, and before the first commit.
    """
    form = "--format=%(refname:short) %(objectname) %(*objectname)"
    lines = (_run_git(root, "for-each-ref", form) or "").splitlines()
    found: dict[str, str] = {}
    for name, *objects in map(str.split, lines):
        commit = _run_git(root, "rev-parse", "--verify", "--quiet", f"{objects[-1]}^{{commit}}")
        if commit is not None:  # a tag may name a file
            found.setdefault(commit.strip(), name)
    head = _run_git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    return found if head is None else {**found, head.strip(): "HEAD"}


def _find_commit(root: Path, revision: str) -> str:
    """Finds the full id of a revision's commit."""
    if not is_in_git(root):
        raise InputError(
            "the project is not in a git repository, so it has no revisions",
            file=root,
            remedy="name a version (ASSET@DIGEST) instead; to keep revisions, `git init` and commit",
        )
    commit = _run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InputError(
            f"the repository has no revision {revision!r}", file=root, remedy="choose one from `git log`"
        )
    return commit.strip()


def _run_git(root: Path, *arguments: str) -> str | None:
    """Runs git in a folder, without taking locks, ignoring variables that name another repository.

    It also ignores a bare repository among a clone's files: its settings could name programs, which git would start.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        finished = subprocess.run(
            ["git", "--no-optional-locks", *_ONLY_REPOSITORIES_OF_GIT, "-C", str(root), *arguments],  # noqa: S607 - on PATH
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError:
        return None
    return finished.stdout if finished.returncode == 0 else None
