"""Pairs are encoded as TRL encodes them; what is cut or dropped is counted."""

import tracemalloc
from pathlib import Path

import pytest
import torch

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import Dialogue, Dialogues, encode_dialogues, encode_prompt
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.pairs import encode_pairs, require_training_rows
from tests.live_rows import LiveRows
from tests.training.preferences import make_row, shorter_is_better
from tests.training.tiny_models import whole


def test_an_answer_is_encoded_up_to_its_end_of_turn(policy_path: Path, device: torch.device) -> None:
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    (dialogue,) = encode_dialogues(tokenizer, [whole("say red", "red red.")])
    assert dialogue.prompt_ids == encode_prompt(tokenizer, "say red")
    assert tokenizer.decode(dialogue.prompt_ids) == "<user>say red<assistant>"
    assert tokenizer.decode(dialogue.completion_ids) == "red red.<end>"


def test_a_long_answer_is_cut_and_a_long_prompt_dropped(policy_path: Path, device: torch.device) -> None:
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    rows = [
        make_row("say red", "red.", "red red red red red red.", p_a=0.9),
        make_row("say red " * 9, "red.", "red red.", p_a=0.8),
        make_row("say red", "red.", "red red.", p_a=0.7),
    ]
    longest = max(len(d.input_ids) for d in encode_dialogues(tokenizer, [whole("say red", "red red.")]))
    encoded = encode_pairs(tokenizer, rows, max_length=longest)
    assert (len(encoded), encoded.num_cut, encoded.num_dropped) == (2, 1, 1)
    assert list(encoded.p_a) == [0.9, 0.7]
    a, b = encoded.dialogues[:2]
    assert len(b.input_ids) == longest
    assert a.prompt_ids == b.prompt_ids
    assert tokenizer.decode(a.completion_ids) == "red.<end>"


def test_pairs_are_kept_at_four_bytes_a_token_and_no_row_is(policy_path: Path, device: torch.device) -> None:
    """Python's own lists of token ids would take gigabytes for what a real judge labels in a night."""
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    counter = LiveRows()
    text = "red green blue " * 30
    rows = (make_row("say red", text, f"{n} {text}") for n in range(200))
    encode_pairs(tokenizer, [], max_length=9)  # what is allocated once
    tracemalloc.start()
    try:
        encoded = encode_pairs(tokenizer, map(counter.make, rows), max_length=10_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    num_tokens = sum(len(dialogue.input_ids) for dialogue in encoded.dialogues)
    assert num_tokens > 30_000
    assert held < 6 * num_tokens
    assert 0 < counter.most < 100


def test_dialogues_are_a_sequence() -> None:
    made = [Dialogue(prompt_ids=[n], completion_ids=list(range(n))) for n in range(5)]
    dialogues = Dialogues(made)
    assert list(dialogues) == dialogues[:] == made
    assert dialogues[-2] == made[-2]
    with pytest.raises(IndexError):
        dialogues[5]


def test_training_on_nothing_or_on_held_out_prompts_is_refused() -> None:
    with pytest.raises(TrainingError, match="no training preferences"):
        require_training_rows([], what="reward model")
    with pytest.raises(
        TrainingError, match=r"48 of 192 pairs belong to held-out prompts \(first: pair-0-0\)"
    ):
        require_training_rows(shorter_is_better(), what="reward model")
