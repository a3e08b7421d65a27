"""Models whose tokenizer has no padding token, as many public ones have none."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from rlaif_dagster.models import open_causal_lm
from tests.training.test_training import align, train_reward


@pytest.mark.slow
def test_a_tokenizer_without_a_padding_token_goes_through_both_trainers(
    policy_path: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(policy_path, bare)
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        if (bare / name).exists():
            settings = json.loads((bare / name).read_text())
            settings = {key: value for key, value in settings.items() if not key.startswith("pad_token")}
            (bare / name).write_text(json.dumps(settings))
    assert open_causal_lm(bare, dtype="float32")[1].pad_token is None
    reward = train_reward(bare, tmp_path)
    assert reward.held_out.num_pairs > 0
    result = align(bare, tmp_path / "reward_model", tmp_path)
    assert all(torch.isfinite(torch.tensor(step["loss"])) for step in result.steps)
