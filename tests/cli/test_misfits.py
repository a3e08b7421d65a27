"""`rlaif run` on models that do not fit: exit code 2, the tensors and the remedy, and nothing made from them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import edit_yaml, run_rlaif
from tests.misfits import MISFITS, make_misfit

Edit = Callable[[Path], None]


def name_base_policy(project: Path) -> None:
    edit_yaml(
        project / "inputs" / "pipeline.yaml", lambda value: value.update(base_policy={"model": "models/mine"})
    )


def name_critic(project: Path) -> None:
    critic = {"provider": "local", "model": "models/mine", "verdict": "text"}
    edit_yaml(project / "inputs" / "pipeline.yaml", lambda value: value.update(revision={"critic": critic}))


def name_judge(project: Path) -> None:
    edit_yaml(project / "inputs" / "judge.yaml", lambda value: value.update(model="models/mine"))


def name_independent_judge(project: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["evaluation"]["judge"] = {"provider": "local", "model": "models/mine", "template": "pairwise"}

    edit_yaml(project / "inputs" / "pipeline.yaml", change)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edit", "asset"),
    [
        pytest.param("one missing", name_base_policy, "sampled_responses", id="base policy"),
        pytest.param("compiled", name_judge, "judge", id="judge"),
        pytest.param("cut short", name_critic, "critic", id="critic"),
        pytest.param(
            "lost shard",
            name_independent_judge,
            "evaluation_judge",
            id="independent judge",
        ),
    ],
)
def test_a_run_on_a_misfit_ends_with_its_tensors_and_the_remedy(
    name: str, edit: Edit, asset: str, small_project: Path
) -> None:
    make_misfit(name, small_project / "models" / "mine")
    edit(small_project)
    done = run_rlaif("run", asset, project=small_project, check=False)
    assert done.returncode == 2, done.stderr
    assert "the model models/mine: " in done.stderr
    assert "remedy: " in done.stderr
    assert all(re.search(words, done.stderr) for words in MISFITS[name].words)
    assert "Traceback" not in done.stderr + done.stdout
    made = {path.name for path in (small_project / "data").glob("*/")}
    assert not made & {"base_policy", "judge", "critic", "evaluation_judge", "sampled_responses"}
