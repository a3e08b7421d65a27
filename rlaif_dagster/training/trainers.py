"""TRL's trainers with soft labels, and how they are run. Needs torch and trl: import it lazily.

Each trainer differs from TRL's in the loss (a function of `training.losses`), in taking pairs that are encoded
already, and in keeping data in memory. Answers a and b stand where TRL expects `chosen` and `rejected`; `p_a`
says how much a is preferred.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import DPOTrainer, RewardTrainer, SFTTrainer

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.progress import Progress
from rlaif_dagster.tables import Row
from rlaif_dagster.training.kl import compute_log_probs
from rlaif_dagster.training.losses import soft_bradley_terry_loss, soft_dpo_loss
from rlaif_dagster.training.pairs import PreferencePair
from rlaif_dagster.training.settings import LoraSettings, OptimizerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft import LoraConfig
    from transformers import PreTrainedTokenizerBase


def trainer_seed(seed: int) -> int:
    """The seed as transformers takes it: it also seeds numpy, which has 32 bits for it."""
    return seed % 2**32


class SoftLabelCollator:
    """A TRL collator whose batches also hold the soft labels, `p_a` of shape `(pair,)`."""

    def __init__(self, collate: Callable[[list[Row]], dict[str, torch.Tensor]]) -> None:
        self._collate = collate

    def __call__(self, examples: list[Row]) -> dict[str, torch.Tensor]:
        """Pads and stacks examples."""
        batch = self._collate(examples)
        batch["p_a"] = torch.tensor([example["p_a"] for example in examples], dtype=torch.float32)
        return batch


class SoftRewardTrainer(RewardTrainer):
    """TRL's RewardTrainer with the soft Bradley-Terry loss."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The mean loss of a batch; rewards of all a, then of all b, stand in one forward pass."""
        p_a = inputs["p_a"]
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        rewards_a, rewards_b = outputs.logits.squeeze(-1).float().chunk(2)
        margin = rewards_a - rewards_b
        loss = _require_finite(soft_bradley_terry_loss(margin, p_a).mean(), self.state.global_step)
        self._metrics["train" if model.training else "eval"]["margin"].append(
            _mean_signed_margin(margin, p_a)
        )
        self._metrics["train" if model.training else "eval"]["accuracy"].append(_accuracy(margin, p_a))
        return (loss, outputs) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Sends nothing: training calls nobody."""


class SoftDpoTrainer(DPOTrainer):
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
        loss = _require_finite(soft_dpo_loss(margin, p_a, self.beta).mean(), self.state.global_step)
        metrics = self._metrics["train" if model.training else "eval"]
        metrics["rewards/margins"].append(_mean_signed_margin(self.beta * margin, p_a))
        metrics["rewards/accuracies"].append(_accuracy(margin, p_a))
        return (loss, outputs) if return_outputs else loss

    def _send_telemetry(self) -> None:
        """Sends nothing: training calls nobody."""


class PlainSftTrainer(SFTTrainer):
    """TRL's SFTTrainer, which stops when the loss is no longer a number."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """TRL's loss: the mean cross-entropy over the tokens with a label."""
        trl: Any = super()  # untyped
        computed = trl.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        _require_finite(computed[0] if return_outputs else computed, self.state.global_step)
        return computed

    def _send_telemetry(self) -> None:
        """Sends nothing: training calls nobody."""


class ProgressCallback(TrainerCallback):
    """Passes the number of steps done on to a `Progress`."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress = what, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each optimiser step."""
        self._progress(self._what, state.global_step, state.max_steps)


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
    """The precision of the weights in training: low only under adapters, which are float32 themselves."""
    return settings.dtype if settings.lora is not None else "float32"


def build_reward_dataset(pairs: Sequence[PreferencePair]) -> Dataset:
    """Puts pairs under the names that RewardTrainer reads: whole dialogues."""
    return Dataset.from_list(
        [
            {"chosen_ids": pair.a.input_ids, "rejected_ids": pair.b.input_ids, "p_a": pair.p_a}
            for pair in pairs
        ]
    )


def build_dpo_dataset(
    pairs: Sequence[PreferencePair], reference: Any, *, settings: OptimizerSettings
) -> Dataset:
    """Puts pairs under the names that DPOTrainer reads, with the reference's log-probability of each answer.

    Args:
        pairs: Encoded pairs.
        reference: The reference policy on its device.
        settings: Batch size and precision.
    """
    dialogues = [dialogue for pair in pairs for dialogue in (pair.a, pair.b)]
    with torch.autocast(reference.device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
        log_probs = compute_log_probs(reference, dialogues, batch_size=2 * settings.batch_size)
    logps = [float(tokens.sum()) for tokens in log_probs]
    return Dataset.from_list(
        [
            {
                "prompt_ids": pair.a.prompt_ids,
                "chosen_ids": pair.a.completion_ids,
                "rejected_ids": pair.b.completion_ids,
                "ref_chosen_logps": logps_a,
                "ref_rejected_logps": logps_b,
                "p_a": pair.p_a,
            }
            for pair, logps_a, logps_b in zip(pairs, logps[::2], logps[1::2], strict=True)
        ]
    )


def training_arguments(
    settings: OptimizerSettings, *, seed: int, device: torch.device, output_dir: str
) -> dict[str, Any]:
    """What every trainer is configured with: nothing saved, nothing reported, nothing left to chance."""
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
        "max_length": settings.max_length,
        "bf16": settings.dtype == "bfloat16",
        "use_cache": True,  # what the saved config says; training itself never caches
        "activation_checkpointing": settings.gradient_checkpointing,
        "use_cpu": device.type == "cpu",
        "pad_to_multiple_of": None,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.type == "cuda",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def build_lora(settings: LoraSettings | None, *, task: str) -> "LoraConfig | None":
    """The adapters as peft takes them, or None for training all weights.

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
    """Trains, and returns what was logged at each step.

    Raises:
        TrainingError: If the loss is no longer a number.
    """
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train()
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


@contextmanager
def trainer_workspace(scratch: Path) -> "Iterator[str]":
    """A temporary folder inside `scratch` for what a trainer writes; removed afterwards."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="trainer-") as folder, warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by a name that is going away.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield folder


def save_model(trainer: Any, tokenizer: Any, output: Path, *, dtype: str) -> None:
    """Writes the trained model as a plain model folder: config, safetensors, tokenizer; adapters are merged."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def _require_finite(loss: torch.Tensor, num_steps_done: int) -> torch.Tensor:
    if not torch.isfinite(loss):
        raise DivergedError(float(loss.detach()), num_steps_done + 1)
    return loss


def _mean_signed_margin(margin: torch.Tensor, p_a: torch.Tensor) -> float:
    """Mean margin of the answer that the label prefers over the other one; exact ties count as 0."""
    return float((margin.detach() * (p_a - 0.5).sign()).mean())


def _accuracy(margin: torch.Tensor, p_a: torch.Tensor) -> float:
    """Share of pairs whose margin has the label's sign; a tied label counts as half."""
    agreement = (margin.detach().sign() * (p_a - 0.5).sign() + 1) / 2
    return float(agreement.mean())
