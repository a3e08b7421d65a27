"""Clones that somebody else made, and every command that only reads, called on them."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from typer.testing import CliRunner, Result

from rlaif_dagster.cli.main import app
from rlaif_dagster.errors import RlaifError
from tests.versioning.conftest import commit_all, run_git

READING = (
    ("status",),
    ("plan",),
    ("audit",),
    ("trace", "aligned_policy"),
    ("trace", "principle:kind"),
    ("diff", "base_policy", "aligned_policy"),
    ("doctor",),
    ("releases",),
    ("gc", "--keep", "releases"),
    ("export", "aligned_policy", "--format", "prov"),
    ("export", "ai_preferences", "--format", "croissant"),
    ("report",),
    ("chat", "Hello"),
)
"""Commands that only read; `verify` is left to the caller, since it takes a key."""


def clone(root: Path, target: Path) -> Path:
    """What a person has who clones a project: what git tracks."""
    commit_all(root, "all")
    run_git(root.parent, "clone", "--quiet", str(root), str(target))
    return target


def call(root: Path, *arguments: str) -> Result:
    """Calls a command in this process; whatever goes wrong is one of our own errors."""
    result = CliRunner().invoke(app, [*arguments, "--project", str(root)])
    assert isinstance(result.exception, RlaifError | SystemExit | None), result.exception
    return result


def call_all(root: Path, commands: Sequence[tuple[str, ...]]) -> Iterator[Result]:
    for command in commands:
        yield call(root, *command)


def track_link(root: Path, place: str, target: Path) -> None:
    """Puts a link where a project has a file or folder, whose content moves to the target; git tracks the link."""
    path = root / place
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(path)
    elif path.exists():
        shutil.copyfile(path, target)
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    run_git(root, "rm", "-r", "--quiet", "--cached", "--ignore-unmatch", place)
    run_git(root, "add", "--force", place)
