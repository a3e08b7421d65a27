"""`rlaif releases`, `rollback`, `release` and `override`, as a person uses them."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from rlaif_dagster.cli.chat import find_policies
from rlaif_dagster.cli.main import app
from rlaif_dagster.errors import CorruptVersionError, GateError, InputError, RlaifError
from rlaif_dagster.inputs.overrides import read_overrides
from rlaif_dagster.inputs.release import RELEASE_FILE
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.lineage.running import no_run_starts
from rlaif_dagster.progress import ignore_progress
from tests.conftest import run_rlaif
from tests.lineage.candidates import build, make_policy, read_released_text, release_texts
from tests.plain_stages import change


@pytest.fixture
def project(default_project: Path) -> Project:
    """Two releases of toy policies."""
    return release_texts(default_project, "one", "two")


def call(project: Project, *arguments: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(app, [*arguments, "--project", str(project.root)])


def read_releases(project: Project) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(call(project, "releases", "--json").stdout.splitlines()[-1])
    return result


def refuse(project: Project, *arguments: str) -> RlaifError:
    """The error of a command that changes nothing."""
    before = project.ledger.find_heads()
    result = call(project, *arguments)
    assert isinstance(result.exception, RlaifError)
    assert project.ledger.find_heads() == before
    return result.exception


@pytest.mark.slow
def test_a_session(project: Project) -> None:
    """Roll back, build on under the hold, end the hold; each command is a process of its own."""
    run_rlaif("rollback", "--reason", "rude: 'no'", project=project.root)
    said = read_releases(project)
    assert [(it["number"], it["is_current"]) for it in said["releases"]] == [(1, True), (2, False)]
    assert said["held"] == "rude: 'no'"
    assert read_released_text(project) == "one"
    build(project, "three")
    assert read_released_text(project) == "one"
    done = run_rlaif("release", project=project.root)
    assert "current" in done.stdout
    assert not (project.root / RELEASE_FILE).exists()
    assert read_released_text(project) == "three"
    assert read_releases(project)["held"] is None
    run_rlaif("rollback", "-2", "--reason", "x", "--json", project=project.root)
    assert read_released_text(project) == "one"


@pytest.mark.slow
def test_a_chat_has_the_released_policy_beside_the_newest_where_they_differ(project: Project) -> None:
    base = change(make_policy("base"), name="base_policy")
    materialise(project, base, progress=ignore_progress)
    assert list(find_policies(project)) == ["base", "aligned"]
    build(project, "three", release=False)
    policies = find_policies(project)
    assert list(policies) == ["base", "aligned", "released"]
    assert policies["released"].output.digest == read_releases(project)["releases"][1]["policy"]


def test_the_list_tells_when_why_and_what_stands(project: Project) -> None:
    text = call(project, "releases").stdout
    [first, why_first, second, _] = text.splitlines()
    assert first.split()[0] == "1"
    assert "win rate by the judge 0.600 (0.550 to 0.700); win_rate_over_half passed" in why_first
    assert second.endswith("current")
    policy = second.split("policy ")[1].split()[0]
    call(project, "checkout", f"aligned_policy@{policy}", str(project.root / "released-model"))
    assert (project.root / "released-model" / "model.safetensors").read_text() == "two"


def test_a_project_without_a_release_says_so(default_project: Path) -> None:
    assert call(Project.open(default_project), "releases").stdout.strip() == "nothing has been released yet"


def test_a_rollback_that_cannot_be_leaves_no_hold(project: Project) -> None:
    assert "there is no release '-5'" in str(refuse(project, "rollback", "-5", "--reason", "x"))
    [stored] = [
        path
        for path in (project.root / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if path.is_file() and path.read_bytes() == b"one"
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"six")
    assert isinstance(refuse(project, "rollback", "--reason", "x"), CorruptVersionError)
    for arguments in (["rollback"], ["rollback", "--reason", " "], ["override", "evaluation", "schema"]):
        assert call(project, *arguments).exit_code == 2
    assert not (project.root / RELEASE_FILE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["rollback", "2", "--reason", "x"], ["release"]])
def test_what_stands_is_not_changed_while_versions_are_pruned(project: Project, command: list[str]) -> None:
    """The release that was found sound has to be there still when it is brought back."""
    call(project, "rollback", "--reason", "first")
    before = (project.root / RELEASE_FILE).read_bytes()
    changing = threading.Thread(target=call, args=(project, *command))
    with no_run_starts(project):  # as a collection does
        changing.start()
        changing.join(1.0)
        assert changing.is_alive()
        assert (project.root / RELEASE_FILE).read_bytes() == before
    changing.join()
    assert not (project.root / RELEASE_FILE).exists() or (project.root / RELEASE_FILE).read_bytes() != before


def test_the_hold_stays_while_the_newest_policy_is_refused(project: Project) -> None:
    (project.root / RELEASE_FILE).write_text(
        f"hold:\n  release: {read_releases(project)['releases'][0]['digest']}\n  reason: by hand\n"
    )
    build(project, "bad", low=0.4)
    assert isinstance(refuse(project, "release"), GateError)
    assert (project.root / RELEASE_FILE).exists()
    assert read_released_text(project) == "one"


def test_an_override_is_written_or_refused(project: Project) -> None:
    build(project, "close", low=0.49, release=False)
    arguments = ["override", "evaluation", "win_rate_over_half", "--reason", "few prompts"]
    assert "rlaif run" in call(project, *arguments).stdout
    [override] = read_overrides(project.root)
    assert (override.asset, override.check) == ("evaluation", "win_rate_over_half")
    assert isinstance(refuse(project, *arguments), InputError)
    assert "no check 'other'" in str(refuse(project, "override", "evaluation", "other", "--reason", "x"))


def test_a_wrong_hold_is_named_by_its_file(project: Project) -> None:
    (project.root / RELEASE_FILE).write_text("hold:\n  release: sha256:12\n  reason: x\n")
    error = refuse(project, "rollback", "--reason", "x")
    assert f"{RELEASE_FILE}, line 2, field 'hold.release'" in str(error)
