"""Two branches that both ran: `lineage/` merges by itself, and the remedy for `data.dvc` works where it conflicts."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlaif_dagster.cli.doctor import doctor_command
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.project import Project

from .audited_projects import audit, make_text_stage, name_findings, run

PERSON = {f"GIT_{role}_{what}": "somebody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


UNKNOWN = "object-unknown"
"""What is in the cache from a branch that was not merged."""


def git(root: Path, *arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=root,
        env=os.environ | PERSON | {"GIT_EDITOR": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(root: Path, text: str) -> None:
    run(Project.open(root), make_text_stage("a", text))


def commit(root: Path, text: str) -> None:
    build(root, text)
    git(root, "add", "data.dvc", "lineage")
    git(root, "commit", "-qm", text)


@pytest.fixture
def diverged(default_project: Path) -> Path:
    """A project on `main`, with a branch `other`: each has made another version since they parted."""
    root = default_project
    git(root, "add", ".")
    commit(root, "before")
    git(root, "checkout", "-qb", "other")
    commit(root, "theirs")
    git(root, "checkout", "-q", "main")
    commit(root, "ours")
    return root


def take_remedy(root: Path, message: str) -> None:
    """Does what a message says."""
    [command] = re.findall(r"`git ([^`]+)`", message)
    git(root, *command.split())


def require_well(root: Path) -> None:
    """Nothing conflicts, nothing is found, and every record of both branches is there."""
    assert git(root, "status", "--porcelain", "--", "data.dvc", "lineage") == ""
    report = audit(root)
    assert report.findings == ()
    records = Project.open(root).ledger.records()
    assert len({record.output.digest for record in records}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (["merge", "other"], ["commit", "--no-edit"]),
        (["rebase", "other"], ["rebase", "--continue"]),
        (["cherry-pick", "other"], ["cherry-pick", "--continue"]),
    ],
)
def test_the_remedy_works_in_the_middle_of_what_git_could_not_finish(
    start: Sequence[str], end: Sequence[str], diverged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Merge conflict in data.dvc" in git(diverged, *start, check=False)
    assert git(diverged, "diff", "--name-only", "--diff-filter=U").split() == ["data.dvc"]
    with pytest.raises(StorageError) as caught:
        build(diverged, "ours")
    [(kind, place)] = name_findings(audit(diverged).findings)
    assert (kind, place) == ("pin-changed", "data.dvc")
    assert doctor_command(diverged) == 1
    assert "git checkout HEAD -- data.dvc" in capsys.readouterr().out
    take_remedy(diverged, str(caught.value))
    build(diverged, "ours")
    git(diverged, "add", "data.dvc", "lineage")
    git(diverged, *end)
    require_well(diverged)


def test_the_remedy_works_when_a_stash_conflicts(diverged: Path) -> None:
    build(diverged, "stashed")
    git(diverged, "stash")
    commit(diverged, "later")
    assert "CONFLICT" in git(diverged, "stash", "pop", check=False)
    [finding] = [finding for finding in audit(diverged).findings if finding.kind != UNKNOWN]
    assert (finding.kind, finding.place) == ("pin-changed", "data.dvc")
    take_remedy(diverged, finding.remedy)
    build(diverged, "stashed")
    git(diverged, "add", "data.dvc", "lineage")
    git(diverged, "commit", "-qm", "both")
    assert {finding.kind for finding in audit(diverged).findings} == {UNKNOWN}


def test_marks_that_were_committed_go_with_the_file(diverged: Path) -> None:
    """Git has nothing better than the marks then; the ledger has all that `data.dvc` says."""
    git(diverged, "merge", "other", check=False)
    git(diverged, "commit", "-qam", "marks and all")
    with pytest.raises(StorageError, match="or delete the file; then `rlaif run`"):
        build(diverged, "ours")
    (diverged / "data.dvc").unlink()
    build(diverged, "ours")
    git(diverged, "commit", "-qam", "without marks")
    require_well(diverged)
