"""The checks of the reward model, and what a recipe says of how training is launched."""

from pathlib import Path

import pytest

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.aligned_policy import build_aligned_policy
from rlaif_dagster.graph.reward_model import build_reward_model
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import PREFERENCES_TABLE, TRAINING_JSON
from rlaif_dagster.preferences import preferences_schema
from rlaif_dagster.tables import write_table
from tests.conftest import edit_yaml

NUM_PAIRS = 80


@pytest.mark.parametrize(("by_length", "passed"), [(True, False), (False, True)])
def test_a_reward_model_that_has_only_learned_length_is_flagged(
    by_length: bool, passed: bool, default_project: Path, tmp_path: Path
) -> None:
    """The longer answer is preferred in four pairs of five. One model goes by length, the other errs as often."""
    excess = [5 if place % 5 else -5 for place in range(NUM_PAIRS)]
    texts = [("x" * (20 + length), "x" * 20) for length in excess]
    rows = [
        dict.fromkeys(preferences_schema().names, "")
        | {
            "pair_id": str(place),
            "prompt_id": f"p{place}",
            "split": "eval",
            "principles": [],
            "num_verdicts": 2,
        }
        | {"p_a": 0.9, "p_a_ab": 0.9, "p_a_ba": 0.9, "judge_agreement": None, "consistent": True}
        | {"near_tie": False, "chosen": chosen, "rejected": rejected}
        for place, (chosen, rejected) in enumerate(texts)
    ]
    write_table(tmp_path / PREFERENCES_TABLE, rows, preferences_schema())
    margins = (
        excess if by_length else [-1 if place % 5 == place // 5 % 5 else 1 for place in range(NUM_PAIRS)]
    )
    assert sum(margin > 0 for margin in margins) == 64
    (tmp_path / TRAINING_JSON).write_bytes(canonical_json({"margins": [float(margin) for margin in margins]}))
    stage = build_reward_model(ProjectInputs.read(default_project))
    check = next(check for check in stage.governance.checks if check.name == "more_than_length")
    assert not check.blocking
    assert check.run(tmp_path, {"ai_preferences": tmp_path}).passed is passed


def test_one_process_is_no_part_of_a_recipe_and_two_are(default_project: Path) -> None:
    alone = ProjectInputs.read(default_project)
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(launch={"num_processes": 2}),
    )
    two = ProjectInputs.read(default_project)
    for build in (build_reward_model, build_aligned_policy):
        settings = build(alone).identity.settings
        assert isinstance(settings, dict)
        assert build(two).identity.settings == settings | {"launch": {"num_processes": 2, "config": None}}
