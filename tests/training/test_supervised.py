"""Supervised fine-tuning: it learns the answers, only the answers, and the same inputs give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt, encode_dialogues
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import sample_responses
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.revising.settings import SupervisedSettings
from rlaif_dagster.training.settings import LoraSettings
from rlaif_dagster.training.supervised import SupervisedResult, train_supervised_policy
from tests.training.tiny_models import PROMPTS, answer, whole

SETTINGS = SupervisedSettings(learning_rate=2e-3, num_epochs=4.0, batch_size=16)
ONCE = [whole(prompt, answer(prompt.split()[1], 1)) for prompt in PROMPTS]


def train(
    policy: Path,
    folder: Path,
    settings: SupervisedSettings = SETTINGS,
    answers: Sequence[AnsweredPrompt] = ONCE,
) -> SupervisedResult:
    return train_supervised_policy(
        policy,
        answers,
        settings,
        seed=7,
        device=torch.device("cpu"),
        output=folder / "output",
        scratch=folder / "scratch",
    )


def mean_tokens(policy: Path) -> float:
    rows = sample_responses(
        policy,
        [{"prompt_id": prompt, "prompt": prompt} for prompt in PROMPTS],
        LocalSamplingSettings(num_samples=2, max_new_tokens=20),
        root_seed=0,
        policy_digest="x",
        device=torch.device("cpu"),
        batch_size=96,
    ).rows
    return float(sum(row["num_tokens"] for row in rows) / len(rows))


@pytest.mark.slow
def test_a_policy_learns_what_it_is_shown_and_twice_the_same(policy_path: Path, tmp_path: Path) -> None:
    """The tiny policy says a word one to six times; it is shown answers that say it once."""
    result = train(policy_path, tmp_path / "one")
    assert result.num_answers == len(PROMPTS)
    assert result.losses[-1] < result.losses[0] / 2
    assert mean_tokens(tmp_path / "one" / "output") < 0.7 * mean_tokens(policy_path)
    train(policy_path, tmp_path / "two")
    digests = {FolderManifest.from_folder(tmp_path / name / "output").digest for name in ("one", "two")}
    assert len(digests) == 1
    assert list((tmp_path / "one" / "scratch").iterdir()) == []


def test_the_loss_is_the_cross_entropy_of_the_answers_tokens(policy_path: Path, tmp_path: Path) -> None:
    result = train(policy_path, tmp_path, settings_with(num_epochs=1.0), ONCE[:1])
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    (dialogue,) = encode_dialogues(tokenizer, ONCE[:1])
    with torch.inference_mode():
        logits = model(torch.tensor([dialogue.input_ids])).logits[0]
    log_probs = logits.log_softmax(-1)
    start = len(dialogue.prompt_ids)
    by_hand = [-float(log_probs[start + i - 1, token]) for i, token in enumerate(dialogue.completion_ids)]
    assert result.losses[0] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)


def test_long_answers_are_cut_and_long_prompts_left_out(policy_path: Path, tmp_path: Path) -> None:
    answers = [ONCE[0], whole("say red " * 20, "red."), whole("say red", "red " * 30)]
    result = train(policy_path, tmp_path, settings_with(max_length=16, num_epochs=1.0), answers)
    assert (result.num_answers, result.num_dropped, result.num_cut) == (2, 1, 1)


def test_nothing_to_learn_from_is_an_error_that_says_so(policy_path: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of the 1 answers is left"):
        train(policy_path, tmp_path, settings_with(max_length=2), ONCE[:1])


@pytest.mark.slow
def test_adapters_are_merged_into_a_plain_folder(policy_path: Path, tmp_path: Path) -> None:
    train(policy_path, tmp_path, settings_with(lora=LoraSettings(r=2), num_epochs=1.0))
    open_causal_lm(tmp_path / "output", dtype="float32")
    assert not list((tmp_path / "output").glob("adapter*"))


def settings_with(**settings: Any) -> SupervisedSettings:
    return SETTINGS.model_copy(update=settings)
