"""Pairs are encoded as TRL encodes them; what is cut or dropped is counted."""

from pathlib import Path

import pytest
import torch

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import encode_dialogues, encode_prompt
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.pairs import encode_pairs, require_training_rows
from tests.training.preferences import shorter_is_better


def test_an_answer_is_encoded_up_to_its_end_of_turn(policy_path: Path, device: torch.device) -> None:
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    (dialogue,) = encode_dialogues(tokenizer, [("say red", "red red.")])
    assert dialogue.prompt_ids == encode_prompt(tokenizer, "say red")
    assert tokenizer.decode(dialogue.prompt_ids) == "<user>say red<assistant>"
    assert tokenizer.decode(dialogue.completion_ids) == "red red.<end>"


def test_a_long_answer_is_cut_and_a_long_prompt_dropped(policy_path: Path, device: torch.device) -> None:
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    rows = [
        {"prompt": "say red", "text_a": "red.", "text_b": "red red red red red red.", "p_a": 0.9},
        {"prompt": "say red " * 9, "text_a": "red.", "text_b": "red red.", "p_a": 0.8},
        {"prompt": "say red", "text_a": "red.", "text_b": "red red.", "p_a": 0.7},
    ]
    longest = max(len(d.input_ids) for d in encode_dialogues(tokenizer, [("say red", "red red.")]))
    encoded = encode_pairs(tokenizer, rows, max_length=longest)
    assert (len(encoded), encoded.num_cut, encoded.num_dropped) == (2, 1, 1)
    assert list(encoded.p_a) == [0.9, 0.7]
    a, b = encoded.dialogues[:2]
    assert len(b.input_ids) == longest
    assert a.prompt_ids == b.prompt_ids
    assert tokenizer.decode(a.completion_ids) == "red.<end>"


def test_training_on_nothing_or_on_held_out_prompts_is_refused() -> None:
    with pytest.raises(TrainingError, match="no training preferences"):
        require_training_rows([], what="reward model")
    with pytest.raises(
        TrainingError, match=r"48 of 192 pairs belong to held-out prompts \(first: pair-0-0\)"
    ):
        require_training_rows(shorter_is_better(), what="reward model")
