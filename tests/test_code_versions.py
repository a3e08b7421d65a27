"""Each change of a stage's code is decided about: other bytes need another `code_version`, the same need a reason."""

from pathlib import Path

import pytest

from tests.code_versions.__main__ import main
from tests.code_versions.record import FOLDER, Acknowledged, Change
from tests.code_versions.stages import StageCode, read_stages

REMEDY = """
Would the same inputs now give other bytes? Then raise `code_version` and run
  python -m tests.code_versions STAGE
If they give the same bytes, say why:
  python -m tests.code_versions STAGE --reason "TEXT"
`all` stands for every stage that changed."""


@pytest.fixture(scope="module")
def stages() -> dict[str, StageCode]:
    return read_stages()


def test_every_change_of_a_stages_code_is_acknowledged(stages: dict[str, StageCode]) -> None:
    changes = {name: Change.between(Acknowledged.read(name).code, code) for name, code in stages.items()}
    told = "\n\n".join(f"{name}:\n{change}" for name, change in changes.items() if change)
    assert not told, f"the code of stages changed\n\n{told}\n{REMEDY}"


def test_each_stage_has_its_file_with_a_reason(stages: dict[str, StageCode]) -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(stages)
    assert [name for name in stages if not Acknowledged.read(name).reason.strip()] == []


def test_a_file_is_written_in_one_way(stages: dict[str, StageCode], tmp_path: Path) -> None:
    for name in stages:
        Acknowledged.read(name).write(name, tmp_path)
        assert (tmp_path / f"{name}.json").read_bytes() == (FOLDER / f"{name}.json").read_bytes()


def test_a_stage_reaches_what_it_computes_with_and_not_what_other_stages_do(
    stages: dict[str, StageCode],
) -> None:
    """A trainer's overridden methods count although only the library calls them; a template counts as well.

    So do the package's own plug-ins, although only their entry points name them.
    """
    reached = {
        name: {f"{module}:{item}" for module, item in code.definitions} for name, code in stages.items()
    }
    loss = "rlaif_dagster.training.losses:"
    assert any(item.startswith(loss) for item in reached["reward_model"])
    assert not any(item.startswith(loss) for item in reached["judgements"])
    assert "rlaif_dagster.evaluation/:report.html.jinja" in reached["evaluation"]
    assert "rlaif_dagster.judging.templates:load_template" in reached["judgements"]
    assert not any("judging.cutting" in item for item in reached["constitution"])
    asks = "rlaif_dagster.judging.providers.local:LocalJudge.ask"
    assert asks in reached["judgements"]
    assert asks not in reached["constitution"]


def test_the_command_keeps_the_reason_or_says_that_it_is_missing(
    stages: dict[str, StageCode], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge"], stages, tmp_path) == 1
    assert "judge: say with --reason why" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["judge", "--reason", "a new stage"], stages, tmp_path) == 0
    assert (tmp_path / "judge.json").read_text().startswith('{\n  "acknowledged": "a new stage",')
    capsys.readouterr()
    assert main(["judge"], stages, tmp_path) == 0
    assert capsys.readouterr().out == "nothing changed\n"
