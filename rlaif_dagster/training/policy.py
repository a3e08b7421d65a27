"""Trains a policy by one of the methods; the reward model chooses the checkpoint (`training.checkpoints`).

torch, transformers and trl are imported inside the functions.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.tables import Rows
from rlaif_dagster.training.method import Material
from rlaif_dagster.training.methods import find_method
from rlaif_dagster.training.pairs import require_training_rows
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.results import PolicyResult
from rlaif_dagster.training.rewards import RewardModel
from rlaif_dagster.training.settings import AlignmentSettings

if TYPE_CHECKING:
    import torch

    from rlaif_dagster.training.checkpoints import CheckpointCallback, CheckpointProbe


def train_policy(
    base_policy_path: Path,
    reward_model_path: Path,
    rows: Rows,
    settings: AlignmentSettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    scratch: Path,
    reference_policy_path: Path | None = None,
    restart: Restart | None = None,
    progress: Progress = ignore_progress,
) -> PolicyResult:
    """Trains a policy and writes its folder, which `AutoModelForCausalLM` opens.

    Args:
        base_policy_path: The policy to start from.
        reward_model_path: The reward model's folder.
        rows: `ai_preferences` of the split `train`.
        settings: The method, and how to train.
        seed: Decides the order of training, the adapters' initial weights, and the sampled answers.
        device: Where to train.
        output: An empty folder for the policy.
        scratch: A folder for temporary files, which are removed.
        reference_policy_path: The reference policy; None for the policy before training.
        restart: Where a killed training leaves what it needs to continue.
        progress: Called with the number of steps.

    Raises:
        ModelError: If a model cannot be opened.
        TrainingError: If there is nothing to learn from, a row is held out, or training diverges.
    """
    require_training_rows(rows, what="policy")
    from rlaif_dagster.training import checkpoints, trainers

    policy, tokenizer = trainers.open_policy_to_train(base_policy_path, settings, seed=seed, device=device)
    reference = None
    if reference_policy_path is not None:
        reference = _open_reference(reference_policy_path, settings, device)
    material = Material(
        policy=policy,
        tokenizer=tokenizer,
        reward_model=RewardModel.open(reward_model_path, dtype=settings.dtype, device=device),
        rows=rows,
        seed=seed,
        reference=reference,
    )
    plan = find_method(settings).plan(material, settings, progress)
    if reference is None and settings.lora is None:  # else it is the policy with its adapters off
        reference = _open_reference(base_policy_path, settings, device)
    probe = _make_probe(material, settings, reference)
    with trainers.trainer_workspace(scratch, restart) as folder:
        keeper = checkpoints.CheckpointCallback(
            probe,
            every=settings.checkpoint_steps,
            folder=Path(folder),
            guard=plan.guard,
        )
        trainer = plan.make_trainer(
            trainers.training_arguments(
                settings, seed=seed, device=device, output_dir=folder, restart=restart
            ),
            [keeper, trainers.ProgressCallback("policy steps", progress)],
        )
        try:
            log = trainers.run_training(trainer, what="policy")
        except TrainingError as error:
            kept = _keep_last_good(trainer, keeper, tokenizer, restart, dtype=settings.dtype)
            raise TrainingError(f"{error}{kept}") from error
        _save_chosen(trainer, keeper, tokenizer, output, dtype=settings.dtype)
    return PolicyResult(
        counts=plan.counts,
        metrics=plan.metrics,
        steps=tuple(
            {
                "step": number,
                "loss": entry["loss"],
                **{name: entry[key] for name, key in plan.figures.items()},
            }
            for number, entry in enumerate(log, start=1)
        ),
        checkpoints=tuple(keeper.checkpoints),
        chosen_step=keeper.chosen.step,
        stopped=keeper.stopped,
    )


def _make_probe(material: Material, settings: AlignmentSettings, reference: Any | None) -> "CheckpointProbe":
    from rlaif_dagster.training import checkpoints

    return checkpoints.CheckpointProbe(
        questions=checkpoints.choose_probe_questions(
            material.prompts,
            num_prompts=settings.checkpoint_prompts,
            num_samples=settings.checkpoint_samples,
            seed=material.seed,
        ),
        sampling=LocalSamplingSettings(max_new_tokens=settings.max_new_tokens),
        tokenizer=material.tokenizer,
        reward_model=material.reward_model,
        reference=reference,
    )


def _save_chosen(
    trainer: Any, keeper: "CheckpointCallback", tokenizer: Any, folder: Path, *, dtype: str
) -> None:
    from rlaif_dagster.training import sharding, trainers

    with sharding.whole_weights(trainer.model):
        keeper.restore_chosen(trainer.model)
        trainers.save_model(trainer, tokenizer, folder, dtype=dtype)


def _keep_last_good(
    trainer: Any, keeper: "CheckpointCallback", tokenizer: Any, restart: Restart | None, *, dtype: str
) -> str:
    """Writes the chosen checkpoint of a diverged training beside its restart points, and returns where."""
    if restart is None or not keeper.chosen.step:
        return ""
    folder = restart.folder / "last_good"
    _save_chosen(trainer, keeper, tokenizer, folder, dtype=dtype)
    return f"\n  kept: the policy after step {keeper.chosen.step}, in {folder}, until a training finishes"


def _open_reference(path: Path, settings: AlignmentSettings, device: "torch.device") -> Any:
    reference, _ = open_causal_lm(path, dtype=settings.dtype)
    on_device: Any = reference
    return on_device.to(device)
