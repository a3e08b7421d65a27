"""Trains a reward model, or an ensemble: a language model with a scalar head, by the soft Bradley-Terry loss.

torch, transformers and trl are imported inside the functions.
"""

import gc
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.tables import Rows
from rlaif_dagster.training.pairs import SIDES, encode_pairs, read_answer, require_training_rows
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.rewards import (
    MEMBER,
    RewardEvaluation,
    RewardModel,
    evaluate_rewards,
    open_reward_model,
)
from rlaif_dagster.training.settings import RewardModelSettings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardStep:
    """One step of training.

    Attributes:
        step: From 1.
        loss: Mean soft Bradley-Terry loss of the batch, nats.
        margin: Mean reward of the preferred answers over the others in the batch.
        accuracy: Share of the batch's pairs ordered as labelled.
    """

    step: int
    loss: float
    margin: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelResult:
    """A trained reward model.

    Attributes:
        num_pairs: Pairs trained on.
        num_dropped: Pairs left out because their prompt alone fills `max_length`.
        num_empty: Pairs left out because an answer has no token.
        num_cut: Pairs with an answer cut to `max_length`.
        steps: The training steps; for an ensemble, those of its first model.
        train: Agreement with the labels that it was trained on.
        held_out: Agreement with the labels of held-out prompts.
    """

    num_pairs: int
    num_dropped: int
    num_empty: int
    num_cut: int
    steps: tuple[RewardStep, ...]
    train: RewardEvaluation
    held_out: RewardEvaluation


def train_reward_model(
    base_path: Path,
    rows: Rows,
    held_out_rows: Rows,
    settings: RewardModelSettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    scratch: Path,
    restart: Restart | None = None,
    progress: Progress = ignore_progress,
) -> RewardModelResult:
    """Trains a reward model and writes its folder, which `AutoModelForSequenceClassification` opens.

    Args:
        base_path: The model to start from.
        rows: `ai_preferences` of the split `train`, including near ties, whose soft label is close to 0.5.
        held_out_rows: `ai_preferences` of the split `eval`; never trained on.
        settings: How to train.
        seed: Decides the head's initial weights and the order of pairs.
        device: Where to train.
        output: An empty folder for the model; an ensemble's further models are in `member_2` and so on inside it.
        scratch: A folder for temporary files, which are removed.
        restart: Where a killed training leaves what it needs to continue.
        progress: Called with the number of steps.

    Raises:
        ModelError: If the base cannot be opened.
        TrainingError: If there is nothing to learn from, a training row is held out, or training diverges.
    """
    require_training_rows(rows, what="reward model")
    from rlaif_dagster.training import trainers

    with trainers.trainer_workspace(scratch, restart) as folder:
        trained = [
            _train_member(
                base_path,
                rows,
                settings,
                seed=seed if number == 1 else derive_seed(seed, "member", number),
                device=device,
                output=output if number == 1 else output / f"{MEMBER}{number}",
                arguments={"output_dir": str(Path(folder) / str(number)), "restart": restart},
                progress=progress,
            )
            for number in range(1, settings.ensemble + 1)
        ]
    counts, steps = trained[0]
    gc.collect()  # a trainer has reference cycles: its pairs would stay in memory while all texts are encoded again
    train, held_out = (
        evaluate_reward_model(
            output, some, device=device, batch_size=settings.batch_size, max_length=settings.max_length
        )
        for some in (rows, held_out_rows)
    )
    return RewardModelResult(
        **counts,
        steps=steps,
        train=train,
        held_out=held_out,
    )


def _train_member(
    base_path: Path,
    rows: Rows,
    settings: RewardModelSettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    arguments: Mapping[str, Any],
    progress: Progress,
) -> tuple[Mapping[str, int], tuple[RewardStep, ...]]:
    """Trains one model of an ensemble, and writes its folder; returns how many pairs it saw, and its steps."""
    from transformers import set_seed
    from trl import RewardConfig
    from trl.trainer.reward_trainer import DataCollatorForPreference

    from rlaif_dagster.training import examples, trainers

    set_seed(trainers.trainer_seed(seed))  # the head's initial weights are drawn while the model is opened
    model, tokenizer = open_reward_model(base_path, dtype=trainers.loading_dtype(settings))
    encoded = encode_pairs(tokenizer, rows, max_length=settings.max_length)
    if not len(encoded):
        raise TrainingError(
            f"reward model: no prompt of the {len(rows)} pairs fits into {settings.max_length} tokens.\n"
            "  remedy: raise `reward_model.max_length`"
        )
    trainer = trainers.SoftRewardTrainer(
        model=model,
        args=RewardConfig(
            max_length=settings.max_length,
            **trainers.training_arguments(settings, seed=seed, device=device, **arguments),
        ),
        data_collator=examples.SoftLabelCollator(
            DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id),
            examples.show_reward_pairs(encoded),
        ),
        train_dataset=examples.list_places(encoded),
        processing_class=tokenizer,
        peft_config=trainers.build_lora(settings.lora, task="SEQ_CLS"),
        callbacks=[trainers.ProgressCallback("reward model steps", progress)],
    )
    trainer.label_margin = settings.margin
    log = trainers.run_training(trainer, what="reward model")
    trainers.save_model(trainer, tokenizer, output, dtype=settings.dtype)
    counts = {
        "num_pairs": len(encoded),
        "num_dropped": encoded.num_dropped,
        "num_empty": encoded.num_empty,
        "num_cut": encoded.num_cut,
    }
    return counts, tuple(
        RewardStep(step=number, loss=entry["loss"], margin=entry["margin"], accuracy=entry["accuracy"])
        for number, entry in enumerate(log, start=1)
    )


def evaluate_reward_model(
    reward_model_path: Path,
    rows: Rows,
    *,
    device: "torch.device",
    batch_size: int = 64,
    max_length: int | None = None,
) -> RewardEvaluation:
    """Scores both answers of each pair and compares the choices with the labels.

    Raises:
        ModelError: If the model cannot be opened.
    """
    answers = (read_answer(row, side) for side in SIDES for row in rows)
    scores = RewardModel.open(reward_model_path, dtype="float32", device=device).score(
        answers, batch_size=2 * batch_size, max_length=max_length
    )
    num_rows = len(scores.means) // 2
    evaluation = evaluate_rewards(rows, scores.means[:num_rows], scores.means[num_rows:])
    return replace(evaluation, disagreement=statistics.fmean(scores.spreads) if num_rows else 0.0)
