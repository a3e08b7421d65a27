"""A project that version 0.1.0 made stays readable: its history can be audited, traced, compared and verified.

`make_project_0_1_0.py` says what the project holds. What is expected here was printed by version 0.1.0.
"""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rlaif_dagster.cli.main import app

HERE = Path(__file__).parent
FIRST_POLICY = "sha256:28799e9c3a026acc0dcfb5000bf69da3e6994bec6e7cca0f35d33cba684b42dc"
SECOND_POLICY = "sha256:b4d3f4457dbdd522f6768c7a935012e3b0cc8310bf0df94381e3e393b83dfbad"
FLIPPED_PAIR = "c89da3a099f5294e"


@pytest.fixture(scope="module")
def old_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as 0.1.0 left it; tests only read it."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(HERE / "project_0_1_0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "project"


def run(*arguments: str, project: Path) -> Result:
    """Runs a command that must succeed, in this process, and leaves all but scratch files as they were."""
    before = read_kept(project)
    result = CliRunner().invoke(app, [*arguments, "--project", str(project)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert read_kept(project) == before
    return result


def read_kept(project: Path) -> dict[str, bytes]:
    """Every file of a project but those that only this machine needs: scratch files and DVC's local settings."""
    files = {str(path.relative_to(project)): path for path in project.rglob("*") if path.is_file()}
    own = (".rlaif/", ".dvc/config.local", ".dvc/site/", ".dvc/tmp/")
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(own)}


def run_json(*arguments: str, project: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run(*arguments, "--json", project=project).stdout.splitlines()[-1])
    return parsed


@pytest.mark.slow
def test_the_audit_finds_every_byte_and_the_signature_in_order(old_project: Path) -> None:
    report = run_json("audit", "--key", str(HERE / "signer.pem"), project=old_project)
    assert report["findings"] == []
    assert (report["records"], report["objects"], report["bytes"]) == (22, 104, 2_619_089)
    assert [one["holds"] for one in report["signatures"]] == [True]


def test_a_damaged_byte_is_found(old_project: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(old_project, project)
    (weights,) = (project / ".dvc" / "cache").rglob("7862d3c91438754693faedec8e047c")
    weights.chmod(0o644)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    result = CliRunner().invoke(app, ["audit", "--json", "--project", str(project)])
    assert result.exit_code == 1


def test_a_signed_release_verifies(old_project: Path) -> None:
    run("verify", "1", "--key", str(HERE / "signer.pem"), project=old_project)


def test_releases_keep_their_numbers_and_policies(old_project: Path) -> None:
    releases = run_json("releases", project=old_project)["releases"]
    assert [(one["number"], one["policy"]) for one in releases] == [(1, FIRST_POLICY), (2, SECOND_POLICY)]


def test_a_policy_is_traced_to_its_principles_and_inputs(old_project: Path) -> None:
    traced = run_json("trace", f"aligned_policy@{FIRST_POLICY}", project=old_project)
    weights = {one["id"]: one["weight"] for one in traced["facts"]["principles"]}
    assert weights == {"short": 3.0, "rich": 1.0}
    made_from = [one["asset"] for one in traced["made_from"]]
    assert made_from[:4] == ["constitution", "judge", "prompts", "sampled_responses"]
    assert made_from[-1] == "aligned_policy"


def test_a_pair_is_traced_to_its_verdicts(old_project: Path) -> None:
    traced = json.dumps(run_json("trace", f"pair:{FLIPPED_PAIR}", project=old_project))
    assert "blue blue blue." in traced
    assert "a-recorded-judge" in traced


def test_two_releases_are_compared_down_to_the_label(old_project: Path) -> None:
    found = run_json("diff", "release:1", "release:2", project=old_project)
    changed = {one["asset"] for one in found["assets"] if one["before"] != one["after"]}
    assert changed == {
        "constitution",
        "judge_audit",
        "ai_preferences",
        "reward_model",
        "aligned_policy",
        "evaluation",
        "released_policy",
    }
    assert found["preferences"]["num_flipped"] == 144
    (example,) = (one for one in found["preferences"]["examples"] if one["pair_id"] == FLIPPED_PAIR)
    assert (example["before"], example["after"]) == (0.69375, 0.30825)


def test_an_old_policy_is_checked_out_and_opens(old_project: Path, tmp_path: Path) -> None:
    run("checkout", f"aligned_policy@{FIRST_POLICY}", str(tmp_path / "policy"), project=old_project)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert model.config.hidden_size == 24
    assert tokenizer.eos_token == "<end>"  # noqa: S105 - a token of the vocabulary


def test_what_stands_in_a_release_is_reported(old_project: Path, tmp_path: Path) -> None:
    run("report", "1", "--out", str(tmp_path / "report.html"), project=old_project)
    assert FIRST_POLICY.removeprefix("sha256:")[:12] in (tmp_path / "report.html").read_text()
