"""Reward models: ensembles, any classifier, calibration, and how much of their accuracy is answer length."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.training.reward_model import train_reward_model
from rlaif_dagster.training.reward_quality import (
    DecidedPair,
    balance_lengths,
    explain_by_length,
    fit_temperature,
    measure_quality,
)
from rlaif_dagster.training.rewards import RewardModel, list_ensemble
from rlaif_dagster.training.settings import RewardModelSettings
from tests.training.test_training import HELD_OUT, REWARD, TRAIN, train_reward
from tests.training.tiny_models import cut, whole

CPU = torch.device("cpu")
ANSWERS = [whole("say red", "red."), whole("sing moon", "moon moon moon."), cut("write sea", "sea sea")]


@pytest.mark.slow
def test_an_ensemble_scores_by_mean_and_standard_deviation(policy_path: Path, tmp_path: Path) -> None:
    """Its first model is the one that stands alone, byte for byte; the others have seeds of their own."""
    short = REWARD.model_copy(update={"max_steps": 3})
    train_reward(policy_path, tmp_path / "one", short)
    result = train_reward(policy_path, tmp_path / "three", short.model_copy(update={"ensemble": 3}))
    folder = tmp_path / "three" / "reward_model"
    paths = list_ensemble(folder)
    assert [path.name for path in paths] == ["reward_model", "member_2", "member_3"]
    alone = FolderManifest.from_folder(tmp_path / "one" / "reward_model")
    assert all(file in FolderManifest.from_folder(folder).files for file in alone.files)
    for path in paths:
        AutoModelForSequenceClassification.from_pretrained(path)
    members = [RewardModel.open(path, dtype="float32", device=CPU) for path in paths[1:]]
    scores = [
        RewardModel.open(tmp_path / "one" / "reward_model", dtype="float32", device=CPU).score(ANSWERS).means
    ]
    scores += [member.score(ANSWERS).means for member in members]
    together = RewardModel.open(folder, dtype="float32", device=CPU).score(ANSWERS)
    for place, each in enumerate(zip(*scores, strict=True)):
        mean = sum(each) / 3
        assert len(set(each)) == 3
        assert together.means[place] == pytest.approx(mean)
        assert together.spreads[place] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in each) / 2))
    assert result.held_out.disagreement > 0


@pytest.mark.slow
def test_a_classifier_of_another_architecture_is_trained(policy_path: Path, tmp_path: Path) -> None:
    """BERT reads both ways and scores its first token, not the last."""
    tokenizer = AutoTokenizer.from_pretrained(policy_path)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.num_labels = 1
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    result = train_reward_model(
        tmp_path / "bert",
        TRAIN,
        HELD_OUT,
        RewardModelSettings(learning_rate=3e-3, num_epochs=6.0),
        seed=1,
        device=CPU,
        output=tmp_path / "reward_model",
        scratch=tmp_path / "scratch",
    )
    assert result.held_out.accuracy is not None
    assert result.held_out.accuracy > 0.9
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward_model")
    assert opened.config.model_type == "bert"


def pairs_of(excess: list[int]) -> list[DecidedPair]:
    """Pairs, one a prompt, whose preferred answer has so many characters more than the other."""
    return [
        DecidedPair(prompt_id=f"p{place}", label=0.9, chosen_characters=20 + length, rejected_characters=20)
        for place, length in enumerate(excess)
    ]


def test_accuracy_on_balanced_lengths_worked_by_hand() -> None:
    """Preferred and longer in six pairs, of which five are right; shorter in two, of which one is: (5/6 + 1/2) / 2. One
    as long is left out."""
    pairs = pairs_of([1] * 6 + [-1] * 2 + [0])
    balanced = balance_lengths(pairs, [1.0] * 5 + [-1.0] + [1.0, -1.0] + [1.0])
    assert balanced is not None
    assert balanced.value == pytest.approx(2 / 3)
    assert (balanced.n, balanced.num_clusters) == (8, 8)
    # Residuals times 8 / (2 * 6) and 8 / (2 * 2): five of 1/6 * 2/3, one of -5/6 * 2/3, and 1/2 * 2 twice.
    squares = 5 * (1 / 9) ** 2 + (5 / 9) ** 2 + 2
    half = 2.364624 * math.sqrt(8 / 7 * squares / 64)
    assert balanced.low == pytest.approx(2 / 3 - half, abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_model_that_goes_by_length_alone_is_told_from_one_that_does_not(sign: int) -> None:
    """In both directions; the other one is right as often, but not by length."""
    excess = [sign * 5] * 80 + [-sign * 5] * 20
    pairs = pairs_of(excess)
    by_length = measure_quality(pairs, [float(sign * length) for length in excess])
    assert by_length["length_balanced_accuracy"]["value"] == 0.5  # type: ignore[index,call-overload]
    assert by_length["explained_by_length"] == 1.0
    fair = measure_quality(pairs, [1.0 if place % 5 else -1.0 for place in range(100)])
    assert fair["length_balanced_accuracy"]["low"] > 0.5  # type: ignore[index,call-overload,operator]
    assert fair["explained_by_length"] == pytest.approx(0.0, abs=1e-9)
    assert fair["chosen_characters"] == pytest.approx(20 + sign * 3)
    assert fair["rejected_characters"] == 20


def test_where_the_preferred_answer_is_always_longer_nothing_can_be_told() -> None:
    assert balance_lengths(pairs_of([1, 2, 3]), [1.0, 1.0, 1.0]) is None
    assert measure_quality(pairs_of([1, 2]), [1.0, 1.0])["explained_by_length"] is None
    assert explain_by_length(0.5, 0.6) is None


@given(temperature=st.floats(0.2, 5), labels=st.lists(st.floats(0.55, 0.95), min_size=3, max_size=20))
def test_the_temperature_of_scores_that_are_too_large_is_found(
    temperature: float, labels: list[float]
) -> None:
    margins = [temperature * math.log(p / (1 - p)) for p in labels]
    assert fit_temperature(margins, labels) == pytest.approx(temperature, rel=1e-3)


def test_calibration_worked_by_hand() -> None:
    """Ten pairs with sigmoid(margin) = 3/4: eight are right, so the gap is 0.05; Brier: (8 * 1/16 + 2 * 9/16) / 10."""
    quality = measure_quality(pairs_of([1, -1] * 5), [math.log(3)] * 8 + [-math.log(3)] * 2)
    assert quality["ece"]["value"] == pytest.approx(0.05)  # type: ignore[index,call-overload]
    assert quality["brier"]["value"] == pytest.approx(0.1625)  # type: ignore[index,call-overload]
