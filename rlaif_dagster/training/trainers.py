"""TRL's trainers with soft labels, and how they are run. Needs torch and trl: import it lazily.

Each trainer differs from TRL's in its loss (a function of `training.losses`), and in accepting encoded pairs
(`training.examples`). Answers a and b are passed as TRL's `chosen` and `rejected`; `p_a` says how much a is
preferred.
"""

import importlib.util
import math
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerState, set_seed
from trl import DPOTrainer, RewardTrainer, SFTTrainer

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.progress import Progress
from rlaif_dagster.tables import Row
from rlaif_dagster.training.losses import (
    soft_bradley_terry_loss,
    soft_dpo_loss,
    soft_ipo_loss,
    soft_robust_dpo_loss,
)
from rlaif_dagster.training.restarts import Restart, find_restart_point, hold_workspace, mark_whole
from rlaif_dagster.training.settings import LoraSettings, OptimizerSettings
from rlaif_dagster.training.sharding import read_whole_weights, take_up_sharding, whole_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft import LoraConfig
    from transformers import PreTrainedTokenizerBase


def trainer_seed(seed: int) -> int:
    """Converts a seed for transformers, which also seeds numpy and so accepts 32 bits."""
    return seed % 2**32


class QuietTrainer:
    """Base of all trainers: they stop if the loss is not finite, send no telemetry, and write no model card."""

    state: TrainerState
    accelerator: Any
    takes_shards = True
    """Whether its model's weights may be sharded over processes."""

    def create_accelerator_and_postprocess(self) -> None:
        """Makes the accelerator; weights may be sharded."""
        trl: Any = super()  # a trainer of TRL
        trl.create_accelerator_and_postprocess()
        take_up_sharding(self)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs one batch forwards and backwards; its loss must be finite."""
        trl: Any = super()  # a trainer of TRL
        loss: torch.Tensor = trl.training_step(*args, **kwargs)
        losses: torch.Tensor = self.accelerator.gather(loss)  # all processes continue, or none does
        if not torch.isfinite(losses).all():
            raise DivergedError(float(losses.sum()), self.state.global_step + 1)
        return loss

    def _send_telemetry(self) -> None:
        """Sends nothing."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Writes nothing."""


class SoftRewardTrainer(QuietTrainer, RewardTrainer):
    """TRL's RewardTrainer with the soft Bradley-Terry loss."""

    label_margin: float = 0.0

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # encoded already

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Computes the mean loss of a batch, in one forward pass over all answers a, then all answers b."""
        p_a = inputs["p_a"]
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        rewards_a, rewards_b = outputs.logits.squeeze(-1).float().chunk(2)
        margin = rewards_a - rewards_b
        loss = soft_bradley_terry_loss(margin, p_a, self.label_margin).mean()
        metrics = self._metrics["train" if model.training else "eval"]
        margin, p_a = self.accelerator.gather((margin.detach(), p_a))
        metrics["margin"].append(_mean_signed_margin(margin, p_a))
        metrics["accuracy"].append(_accuracy(margin, p_a))
        return (loss, outputs) if return_outputs else loss


class SoftDpoTrainer(QuietTrainer, DPOTrainer):
    """TRL's DPOTrainer with a soft target for each pair; the reference log-probabilities come with the pairs."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # encoded already

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # TRL's would write a cache file

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> Any:
        p_a, completion_mask = inputs["p_a"], inputs["completion_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(completion_mask == 0, -100),
            use_cache=False,
            fused_lm_head=True,
        )
        logps_a, logps_b = outputs.log_probs.sum(dim=1).chunk(2)
        logratios_a = logps_a - inputs["ref_chosen_logps"]
        logratios_b = logps_b - inputs["ref_rejected_logps"]
        margin = logratios_a - logratios_b
        match self.loss_types:
            case ["ipo"]:
                tokens_a, tokens_b = completion_mask.sum(dim=1).chunk(2)
                losses = soft_ipo_loss(logratios_a / tokens_a - logratios_b / tokens_b, p_a, self.beta)
            case ["robust"]:
                losses = soft_robust_dpo_loss(margin, p_a, self.beta, self.label_smoothing)
            case _:
                losses = soft_dpo_loss(margin, p_a, self.beta)
        loss = losses.mean()
        metrics = self._metrics["train" if model.training else "eval"]
        margin, p_a = self.accelerator.gather((margin.detach(), p_a))
        metrics["rewards/margins"].append(_mean_signed_margin(self.beta * margin, p_a))
        metrics["rewards/accuracies"].append(_accuracy(margin, p_a))
        return (loss, outputs) if return_outputs else loss


class PlainSftTrainer(QuietTrainer, SFTTrainer):
    """TRL's SFTTrainer."""


class ProgressCallback(TrainerCallback):
    """Reports the number of steps to a `Progress`, and marks saved restart points as complete; the last callback."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress = what, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Runs after each optimiser step."""
        self._progress(self._what, state.global_step, state.max_steps)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Runs after everything else of a restart point is written, in every process."""
        PartialState().wait_for_everyone()
        mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def open_policy_to_train(
    path: Path, settings: OptimizerSettings, *, seed: int, device: torch.device
) -> "tuple[Any, PreTrainedTokenizerBase]":
    """Seeds the libraries and opens a policy on its device; its tokenizer can pad.

    Raises:
        ModelError: If the model cannot be opened.
    """
    set_seed(trainer_seed(seed))
    policy, tokenizer = open_causal_lm(path, dtype=loading_dtype(settings))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    on_device: Any = policy
    return on_device.to(device), tokenizer


def loading_dtype(settings: OptimizerSettings) -> str:
    """Returns the precision of the weights in training: low only under adapters, which are float32 themselves."""
    return settings.dtype if settings.lora is not None else "float32"


def training_arguments(
    settings: OptimizerSettings,
    *,
    seed: int,
    device: torch.device,
    output_dir: str,
    restart: Restart | None = None,
) -> dict[str, Any]:
    """Configures a trainer: everything deterministic, with restart points if requested.

    Curves go to TensorBoard if the environment names a folder for them, and nowhere else.
    """
    watched = "TENSORBOARD_LOGGING_DIR" in os.environ and importlib.util.find_spec("tensorboard") is not None
    saving: dict[str, Any] = {"save_strategy": "no"}
    if restart is not None:
        saving = {"save_strategy": "steps", "save_steps": restart.every_steps, "save_total_limit": 2}
    return {
        "output_dir": output_dir,
        "seed": trainer_seed(seed),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": settings.warmup_fraction,
        "num_train_epochs": settings.num_epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": settings.dtype == "bfloat16",
        "use_cache": True,  # for the saved config; training itself never caches
        "activation_checkpointing": settings.gradient_checkpointing,
        "use_cpu": device.type == "cpu",
        "pad_to_multiple_of": None,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.type == "cuda",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "tensorboard" if watched else "none",
        "disable_tqdm": True,
        **saving,
    }


def build_lora(settings: LoraSettings | None, *, task: str) -> "LoraConfig | None":
    """Makes peft's config of the adapters, or None for training all weights.

    Args:
        settings: The adapters, or None.
        task: peft's task type, "CAUSAL_LM" or "SEQ_CLS"; the latter also trains the scalar head in full.
    """
    if settings is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        task_type=task,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
    )


def run_training(trainer: Any, *, what: str) -> list[Row]:
    """Trains, from the newest restart point if there is one, and returns what was logged at each step.

    Raises:
        TrainingError: If the loss is no longer finite.
    """
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=find_restart_point(Path(trainer.args.output_dir)))
    except DivergedError as error:
        raise TrainingError(
            f"{what}: the loss is {error.value} at step {error.step}.\n"
            "  remedy: lower `learning_rate` or raise `warmup_fraction`"
        ) from error
    return [entry for entry in trainer.state.log_history if "loss" in entry]


class DivergedError(Exception):
    """The loss is not a finite number; `run_training` turns it into a `TrainingError`."""

    def __init__(self, value: float, step: int) -> None:
        self.value, self.step = value, step
        super().__init__(f"loss {value} at step {step}")


def require_finite_weights(model: Any, step: int) -> None:
    """Refuses a model whose weights are no longer finite.

    Raises:
        DivergedError: If a weight is not finite after this step.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise DivergedError(math.nan, step)


@contextmanager
def trainer_workspace(scratch: Path, restart: Restart | None = None) -> "Iterator[str]":
    """Opens the folder that a trainer writes to; see `hold_workspace`."""
    with warnings.catch_warnings(), hold_workspace(scratch, restart) as folder:
        # peft 0.21 uses a deprecated name of transformers 5.23.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield str(folder)


def save_model(trainer: Any, tokenizer: Any, output: Path, *, dtype: str) -> None:
    """Writes the trained model as a plain model folder: config, safetensors, tokenizer; adapters are merged.

    With several processes, the first one writes and the others wait for it.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    with whole_weights(model):
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
        if model.dtype != getattr(torch, dtype):
            model = model.to(getattr(torch, dtype))
        if trainer.accelerator.is_main_process:
            model.save_pretrained(output, state_dict=read_whole_weights(model))
            tokenizer.save_pretrained(output)
        trainer.accelerator.wait_for_everyone()


def _mean_signed_margin(margin: torch.Tensor, p_a: torch.Tensor) -> float:
    """Mean margin of the answer that the label prefers over the other one; exact ties count as 0."""
    return float((margin * (p_a - 0.5).sign()).mean())


def _accuracy(margin: torch.Tensor, p_a: torch.Tensor) -> float:
    """Share of pairs whose margin has the label's sign; a tied label counts as half."""
    agreement = (margin.sign() * (p_a - 0.5).sign() + 1) / 2
    return float(agreement.mean())
