"""Aligning a policy to preferences by DPO, with the reward model as filter and as judge of checkpoints.

The reward model has two tasks here:

1. It filters. A pair is dropped when the reward model gives at least `reward_filter` probability to the answer
   that the label does not prefer: the label is then an outlier among the labels that the reward model generalises
   from. The drops are counted (`num_dropped["reward_model_contradicts"]`).
2. It chooses the checkpoint: see `training.checkpoints`.

The labels themselves stay the judge's soft labels. torch, transformers and trl are imported inside the functions.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import encode_dialogues
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.tables import Row
from rlaif_dagster.training.pairs import encode_pairs, require_training_rows
from rlaif_dagster.training.results import PolicyResult, PolicyStep
from rlaif_dagster.training.rewards import open_reward_model, score_dialogues
from rlaif_dagster.training.settings import PolicySettings

if TYPE_CHECKING:
    import torch

_NO_PREFERENCE = 0.5


def train_policy(
    base_policy_path: Path,
    reward_model_path: Path,
    rows: Sequence[Row],
    settings: PolicySettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    scratch: Path,
    progress: Progress = ignore_progress,
) -> PolicyResult:
    """Trains a policy and writes its folder, which `AutoModelForCausalLM` opens.

    Args:
        base_policy_path: The policy to start from; also the reference policy.
        reward_model_path: The reward model's folder.
        rows: `ai_preferences` of the split `train`.
        settings: How to train.
        seed: Decides the order of pairs, the adapters' first weights, and the answers at checkpoints.
        device: Where to train.
        output: An empty folder for the policy.
        scratch: A folder for temporary files, left as it was.
        progress: Told the number of steps.

    Raises:
        ModelError: If a model cannot be opened.
        TrainingError: If there is nothing to learn from, a row is held out, or training diverges.
    """
    require_training_rows(rows, what="policy")
    from trl import DPOConfig
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from rlaif_dagster.training import checkpoints, trainers

    policy, tokenizer = trainers.open_policy_to_train(base_policy_path, settings, seed=seed, device=device)
    reward_model, reward_tokenizer = open_reward_model(reward_model_path, dtype=settings.dtype)
    reward_model.to(device)
    kept = filter_by_reward(reward_model, reward_tokenizer, rows, threshold=settings.reward_filter)
    encoded = encode_pairs(tokenizer, kept, max_length=settings.max_length)
    num_dropped = {
        "reward_model_contradicts": len(rows) - len(kept),
        "prompt_too_long": encoded.num_dropped,
    }
    if not encoded.pairs:
        raise TrainingError(
            f"policy: none of the {len(rows)} pairs is left to train on (dropped: {num_dropped}).\n"
            "  remedy: raise `policy.reward_filter` or `policy.max_length`"
        )
    dataset = trainers.build_dpo_dataset(encoded.pairs, policy, settings=settings)
    prompts, seeds = checkpoints.choose_probe_prompts(
        [row["prompt"] for row in rows],
        num_prompts=settings.checkpoint_prompts,
        num_samples=settings.checkpoint_samples,
        seed=seed,
    )
    probe = checkpoints.CheckpointProbe(
        prompts=prompts,
        seeds=seeds,
        sampling=LocalSamplingSettings(max_new_tokens=settings.max_new_tokens),
        tokenizer=tokenizer,
        reward_model=reward_model,
        reward_tokenizer=reward_tokenizer,
        reference=_open_reference(base_policy_path, settings, device),
    )
    with trainers.trainer_workspace(scratch) as folder:
        keeper = checkpoints.CheckpointCallback(probe, every=settings.checkpoint_steps, folder=Path(folder))
        trainer = trainers.SoftDpoTrainer(
            model=policy,
            args=DPOConfig(
                beta=settings.beta,
                precompute_ref_log_probs=True,
                **trainers.training_arguments(settings, seed=seed, device=device, output_dir=folder),
            ),
            data_collator=trainers.SoftLabelCollator(
                DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id, max_length=settings.max_length)
            ),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=trainers.build_lora(settings.lora, task="CAUSAL_LM"),
            callbacks=[keeper, trainers.ProgressCallback("policy steps", progress)],
        )
        log = trainers.run_training(trainer, what="policy")
        keeper.restore_chosen(trainer.model)
    trainers.save_model(trainer, tokenizer, output, dtype=settings.dtype)
    return PolicyResult(
        method=settings.method,
        num_pairs=len(encoded.pairs),
        num_dropped=num_dropped,
        num_cut=encoded.num_cut,
        steps=tuple(
            PolicyStep(
                step=number,
                loss=entry["loss"],
                reward_margin=entry["rewards/margins"],
                reward_accuracy=entry["rewards/accuracies"],
            )
            for number, entry in enumerate(log, start=1)
        ),
        checkpoints=tuple(keeper.checkpoints),
        chosen_step=keeper.chosen.step,
    )


def filter_by_reward(
    reward_model: Any, reward_tokenizer: Any, rows: Sequence[Row], *, threshold: float | None
) -> list[Row]:
    """Keeps the pairs that the reward model does not confidently contradict.

    Args:
        reward_model: On its device.
        reward_tokenizer: Its tokenizer.
        rows: `ai_preferences`.
        threshold: A pair goes when sigmoid(reward(other) - reward(preferred)) >= this; None keeps all. A label of
            exactly 0.5 prefers neither and is never contradicted.
    """
    if threshold is None:
        return list(rows)
    texts = [(row["prompt"], row[text]) for text in ("text_a", "text_b") for row in rows]
    rewards = score_dialogues(
        reward_model, reward_tokenizer, encode_dialogues(reward_tokenizer, texts), batch_size=64
    )
    limit = math.log(threshold / (1 - threshold))
    kept = []
    for row, reward_a, reward_b in zip(rows, rewards[: len(rows)], rewards[len(rows) :], strict=True):
        against = reward_b - reward_a if row["p_a"] > _NO_PREFERENCE else reward_a - reward_b
        if row["p_a"] == _NO_PREFERENCE or against < limit:
            kept.append(row)
    return kept


def _open_reference(path: Path, settings: PolicySettings, device: "torch.device") -> Any | None:
    """The reference policy, or None under LoRA, where it is the policy with its adapters off."""
    if settings.lora is not None:
        return None
    reference, _ = open_causal_lm(path, dtype=settings.dtype)
    on_device: Any = reference
    return on_device.to(device)
