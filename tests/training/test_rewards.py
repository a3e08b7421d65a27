"""Rewards and their agreement with labels."""

from pathlib import Path

import pytest
import torch

from rlaif_dagster.errors import ModelError
from rlaif_dagster.training.rewards import evaluate_rewards, open_reward_model, score_responses
from tests.training.tiny_models import cut, whole

ROWS = [
    {"p_a": 0.9, "near_tie": False, "text_a": "long answer", "text_b": "short"},
    {"p_a": 0.2, "near_tie": False, "text_a": "long answer", "text_b": "short"},
    {"p_a": 0.1, "near_tie": False, "text_a": "same", "text_b": "size"},
    {"p_a": 0.52, "near_tie": True, "text_a": "a", "text_b": "bb"},
    {"p_a": 0.5, "near_tie": False, "text_a": "a", "text_b": "bb"},
]


def test_accuracy_margin_and_baseline_worked_by_hand() -> None:
    result = evaluate_rewards(ROWS, [2.0, 1.0, 0.5, 9.0, 9.0], [1.0, 0.0, 0.5, 0.0, 0.0])
    assert result.margins == (1.0, -1.0, 0.0)
    assert (result.num_pairs, result.num_near_ties) == (3, 2)
    assert result.accuracy == pytest.approx(1.5 / 3)
    assert result.longer_wins_accuracy == pytest.approx(1.5 / 3)
    assert result.mean_margin == 0.0


def test_without_deciding_pairs_there_is_no_accuracy() -> None:
    result = evaluate_rewards(ROWS[3:], [0.0, 0.0], [0.0, 0.0])
    assert (result.accuracy, result.longer_wins_accuracy, result.mean_margin) == (None, None, None)


def test_a_reward_does_not_depend_on_its_batch(
    policy_path: Path, device: torch.device, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, tokenizer = open_reward_model(policy_path, dtype="float32")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    answers = [whole("say red", "red."), whole("sing moon", "moon moon moon."), cut("write sea", "sea sea")]
    together = score_responses(tmp_path, answers, device=device, batch_size=3)
    alone = score_responses(tmp_path, answers, device=device, batch_size=1)
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 3


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot open this as a reward model"):
        open_reward_model(tmp_path, dtype="float32")
