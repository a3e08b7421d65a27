"""The losses: worked by hand, smallest where the label says, and TRL's own at hard labels."""

import math
import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference as DpoCollator
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.examples import (
    SoftLabelCollator,
    list_places,
    show_dpo_pairs,
    show_reward_pairs,
)
from rlaif_dagster.training.losses import (
    soft_bradley_terry_loss,
    soft_dpo_loss,
    soft_ipo_loss,
    soft_robust_dpo_loss,
)
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.pairs import encode_pairs
from rlaif_dagster.training.rewards import open_reward_model
from rlaif_dagster.training.settings import RewardModelSettings
from rlaif_dagster.training.trainers import SoftDpoTrainer, SoftRewardTrainer, training_arguments
from tests.training.preferences import shorter_is_better

HARD_ROWS = [{**row, "p_a": 1.0} for row in shorter_is_better()[:8]]
LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def test_bradley_terry_worked_by_hand() -> None:
    # sigmoid(ln 3) = 3/4, so the losses are -log(3/4), -log(1/4), and their mix.
    margin = torch.tensor([LN3, LN3, LN3, 0.0])
    p_a = torch.tensor([1.0, 0.0, 0.75, 0.3])
    expected = [LN4 - LN3, LN4, LN4 - 0.75 * LN3, LN2]
    assert soft_bradley_terry_loss(margin, p_a).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_label_margin_worked_by_hand() -> None:
    """margin 2 ln 3 minus ln 3 for a sure label, minus half of it for one of 3/4, minus nothing for an even one."""
    margin = torch.tensor([2 * LN3, 1.5 * LN3, LN3])
    loss = soft_bradley_terry_loss(margin, torch.tensor([1.0, 0.75, 0.5]), LN3)
    assert loss.tolist() == pytest.approx([LN4 - LN3, LN4 - 0.75 * LN3, LN4 - 0.5 * LN3], abs=1e-6)


def test_dpo_worked_by_hand() -> None:
    # beta * m = 0.5 * 2 ln 3 = ln 3
    loss = soft_dpo_loss(torch.tensor([2 * LN3, 2 * LN3]), torch.tensor([1.0, 0.75]), beta=0.5)
    assert loss.tolist() == pytest.approx([LN4 - LN3, LN4 - 0.75 * LN3], abs=1e-6)


def test_robust_dpo_worked_by_hand() -> None:
    """beta m = ln 3, epsilon = 1/4: (3/4 * -log(3/4) - 1/4 * -log(1/4)) / (1/2) at p_a = 1; at p_a = 1/2, where (p_a -
    epsilon) / (1 - 2 epsilon) = 1/2, the mean of -log(3/4) and -log(1/4)."""
    loss = soft_robust_dpo_loss(
        torch.tensor([2 * LN3, 2 * LN3]), torch.tensor([1.0, 0.5]), beta=0.5, label_smoothing=0.25
    )
    expected = [(0.75 * (LN4 - LN3) - 0.25 * LN4) / 0.5, LN4 - 0.5 * LN3]
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_ipo_worked_by_hand() -> None:
    """1 / (2 beta) = 2: (1 - 2)^2; (1 + 2)^2; 3/4 * 1 + 1/4 * 9."""
    loss = soft_ipo_loss(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 0.75]), beta=0.25)
    assert loss.tolist() == pytest.approx([1.0, 9.0, 3.0])


@given(p_a=st.floats(0.02, 0.98), epsilon=st.floats(0.05, 0.4))
def test_the_robust_loss_is_unbiased_under_flipped_labels(p_a: float, epsilon: float) -> None:
    """Chowdhury et al. 2024: its mean over labels flipped with chance epsilon is the loss of the true label."""
    margin = torch.tensor([1.7], dtype=torch.float64)
    true, flipped = (torch.tensor([p], dtype=torch.float64) for p in (p_a, 1 - p_a))
    robust = [soft_robust_dpo_loss(margin, p, 0.3, epsilon) for p in (true, flipped)]
    mean = (1 - epsilon) * robust[0] + epsilon * robust[1]
    assert float(mean) == pytest.approx(float(soft_dpo_loss(margin, true, 0.3)), abs=1e-9)


@given(p_a=st.floats(0, 1), shift=st.floats(-3, 3).filter(lambda x: abs(x) > 0.01))
def test_ipo_is_smallest_at_the_labels_own_margin(p_a: float, shift: float) -> None:
    best, label = (torch.tensor([x], dtype=torch.float64) for x in ((2 * p_a - 1) / 0.4, p_a))
    assert soft_ipo_loss(best, label, 0.2) < soft_ipo_loss(best + shift, label, 0.2)


@given(p_a=st.floats(0.02, 0.98), shift=st.floats(-3, 3).filter(lambda x: abs(x) > 0.01))
def test_the_loss_is_smallest_where_the_model_says_what_the_label_says(p_a: float, shift: float) -> None:
    best = torch.tensor([math.log(p_a / (1 - p_a))], dtype=torch.float64)
    label = torch.tensor([p_a], dtype=torch.float64)
    assert soft_bradley_terry_loss(best, label) < soft_bradley_terry_loss(best + shift, label)


@given(margin=st.floats(-20, 20), p_a=st.floats(0, 1))
def test_swapping_a_and_b_changes_nothing(margin: float, p_a: float) -> None:
    there = soft_bradley_terry_loss(*torch.tensor([[margin], [p_a]], dtype=torch.float64))
    back = soft_bradley_terry_loss(*torch.tensor([[-margin], [1 - p_a]], dtype=torch.float64))
    assert float(there) == pytest.approx(float(back), abs=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_the_reward_loss_is_trls_at_hard_labels(
    margin: float, policy_path: Path, device: torch.device, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, tokenizer = open_reward_model(policy_path, dtype="float32")
    arguments = training_arguments(RewardModelSettings(), seed=0, device=device, output_dir=str(tmp_path))
    pairs = encode_pairs(tokenizer, HARD_ROWS, max_length=64)
    trainer = SoftRewardTrainer(
        model=model,
        args=RewardConfig(**arguments),
        data_collator=SoftLabelCollator(RewardCollator(pad_token_id=0), show_reward_pairs(pairs)),
        train_dataset=list_places(pairs),
        processing_class=tokenizer,
    )
    trainer.label_margin = margin
    theirs = _loss_of(RewardTrainer, trainer, margin=torch.tensor(margin))
    assert _loss_of(SoftRewardTrainer, trainer) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "robust"])
def test_the_dpo_loss_and_encoding_are_trls_at_hard_labels(
    loss: Literal["sigmoid", "ipo", "robust"], policy_path: Path, device: torch.device, tmp_path: Path
) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    settings = DpoSettings(beta=0.3, loss=loss, label_smoothing=0.2 if loss == "robust" else 0.0)
    pairs = encode_pairs(tokenizer, HARD_ROWS, max_length=64)
    show = show_dpo_pairs(pairs, model, settings=settings)
    with torch.no_grad():  # a policy that differs from its reference
        for parameter in model.parameters():
            parameter.mul_(1.3)
    arguments = training_arguments(settings, seed=0, device=device, output_dir=str(tmp_path))
    trainer: Any = SoftDpoTrainer(
        model=model,
        args=DPOConfig(
            beta=settings.beta,
            loss_type=[loss],
            label_smoothing=settings.label_smoothing,
            precompute_ref_log_probs=True,
            **arguments,
        ),
        data_collator=SoftLabelCollator(DpoCollator(pad_token_id=0), show),
        train_dataset=list_places(pairs),
        processing_class=tokenizer,
    )
    ours = _loss_of(SoftDpoTrainer, trainer)
    assert abs(ours - LN2) > 0.01
    assert ours == pytest.approx(_loss_of(DPOTrainer, trainer), abs=1e-6)

    chats = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "chosen": [{"role": "assistant", "content": row["text_a"]}],
                "rejected": [{"role": "assistant", "content": row["text_b"]}],
            }
            for row in HARD_ROWS
        ]
    )
    theirs = DPOTrainer._prepare_dataset(trainer, chats, tokenizer, trainer.args, "train")
    for column in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert [show(place)[column] for place in range(len(pairs))] == list(theirs[column])


def _loss_of(kind: Any, trainer: Any, **more: torch.Tensor) -> float:
    """The loss of the trainer's first batch, computed as trainers of that kind do."""
    batch = dict(next(iter(trainer.get_train_dataloader())))
    if kind in (DPOTrainer, RewardTrainer):
        batch.pop("p_a")
        batch |= more
    with torch.no_grad(), warnings.catch_warnings():
        # TRL asks transformers by a name that is going away.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer_loss = kind._compute_loss if issubclass(kind, DPOTrainer) else kind.compute_loss
        return float(trainer_loss(trainer, trainer.model, batch, return_outputs=False))
