"""Supervised fine-tuning of a policy on given answers, by TRL's SFTTrainer.

torch, transformers and trl are imported inside the functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import encode_dialogues
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.training.settings import OptimizerSettings

if TYPE_CHECKING:
    import torch

_NO_LABEL = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedResult:
    """A fine-tuned policy.

    Attributes:
        num_answers: Answers trained on.
        num_dropped: Answers left out because the prompt alone is longer than `max_length`.
        num_cut: Answers cut at `max_length`.
        losses: Mean loss of each step's batch, nats per token of the answers.
    """

    num_answers: int
    num_dropped: int
    num_cut: int
    losses: tuple[float, ...]


def train_supervised_policy(
    policy_path: Path,
    rows: Sequence[Mapping[str, str]],
    settings: OptimizerSettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    scratch: Path,
    progress: Progress = ignore_progress,
) -> SupervisedResult:
    """Fine-tunes a policy on answers and writes its folder, which `AutoModelForCausalLM` opens.

    The loss is the cross-entropy over the tokens of the answers; prompts are only read.

    Args:
        policy_path: The policy to start from.
        rows: Rows with `prompt` and `completion`.
        settings: How to train.
        seed: Decides the order of the rows and the adapters' first weights.
        device: Where to train.
        output: An empty folder for the policy.
        scratch: A folder for temporary files, left as it was.
        progress: Told the number of steps.

    Raises:
        ModelError: If the model cannot be opened.
        TrainingError: If there is nothing to learn from, or training diverges.
    """
    from datasets import Dataset
    from trl import SFTConfig

    from rlaif_dagster.training import trainers

    policy, tokenizer = trainers.open_policy_to_train(policy_path, settings, seed=seed, device=device)
    dialogues = encode_dialogues(tokenizer, [(row["prompt"], row["completion"]) for row in rows])
    fitting = [dialogue for dialogue in dialogues if len(dialogue.prompt_ids) < settings.max_length]
    if not fitting:
        raise TrainingError(
            f"supervised_policy: none of the {len(rows)} answers is left to train on.\n"
            "  remedy: raise `revision.training.max_length`, or see why nothing was revised in `revised_responses`"
        )
    cut = [dialogue.cut(settings.max_length) for dialogue in fitting]
    dataset = Dataset.from_list(
        [
            {
                "input_ids": dialogue.input_ids,
                "labels": [_NO_LABEL] * len(dialogue.prompt_ids) + dialogue.completion_ids,
            }
            for dialogue in cut
        ]
    )
    with trainers.trainer_workspace(scratch) as folder:
        trainer = trainers.PlainSftTrainer(
            model=policy,
            args=SFTConfig(
                dataset_kwargs={"skip_prepare_dataset": True},
                **trainers.training_arguments(settings, seed=seed, device=device, output_dir=folder),
            ),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=trainers.build_lora(settings.lora, task="CAUSAL_LM"),
            callbacks=[trainers.ProgressCallback("supervised steps", progress)],
        )
        log = trainers.run_training(trainer, what="supervised_policy")
    trainers.save_model(trainer, tokenizer, output, dtype=settings.dtype)
    return SupervisedResult(
        num_answers=len(fitting),
        num_dropped=len(dialogues) - len(fitting),
        num_cut=sum(one != other for one, other in zip(fitting, cut, strict=True)),
        losses=tuple(entry["loss"] for entry in log),
    )
