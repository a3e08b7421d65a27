"""Fine-tunes a policy on given answers, by TRL's SFTTrainer.

torch, transformers and trl are imported inside the functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.generation.dialogues import AnsweredPrompt, encode_dialogues
from rlaif_dagster.names import SUPERVISED_POLICY
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.training.settings import OptimizerSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from rlaif_dagster.training.restarts import Restart
    from rlaif_dagster.training.trainers import PlainSftTrainer

_NO_LABEL = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedResult:
    """A fine-tuned policy.

    Attributes:
        num_answers: Answers trained on.
        num_dropped: Answers left out because the prompt alone is longer than `max_length`.
        num_empty: Answers left out because they have no token.
        num_cut: Answers cut to `max_length`.
        losses: Mean loss of each step's batch, nats per token of the answers.
    """

    num_answers: int
    num_dropped: int
    num_empty: int
    num_cut: int
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedAnswers:
    """Answers ready for SFTTrainer.

    Attributes:
        rows: `input_ids`, and `labels` without the prompt.
        num_dropped: Answers left out because the prompt alone is longer than allowed.
        num_empty: Answers that have no token: they were cut at `max_new_tokens` before any text.
        num_cut: Answers cut here, to the allowed length.
    """

    rows: list[dict[str, list[int]]]
    num_dropped: int
    num_empty: int
    num_cut: int


def encode_answers(
    tokenizer: "PreTrainedTokenizerBase", answers: Sequence[AnsweredPrompt], *, max_length: int
) -> EncodedAnswers:
    """Encodes answers; a longer answer is cut, an answer to a longer prompt is dropped."""
    dialogues = encode_dialogues(tokenizer, answers)
    fitting = [dialogue for dialogue in dialogues if len(dialogue.prompt_ids) < max_length]
    written = [dialogue for dialogue in fitting if dialogue.completion_ids]
    cut = [dialogue.cut(max_length) for dialogue in written]
    return EncodedAnswers(
        rows=[
            {
                "input_ids": dialogue.input_ids,
                "labels": [_NO_LABEL] * len(dialogue.prompt_ids) + dialogue.completion_ids,
            }
            for dialogue in cut
        ],
        num_dropped=len(dialogues) - len(fitting),
        num_empty=len(fitting) - len(written),
        num_cut=sum(one != other for one, other in zip(written, cut, strict=True)),
    )


def make_sft_trainer(
    policy: Any,
    tokenizer: "PreTrainedTokenizerBase",
    answers: EncodedAnswers,
    settings: OptimizerSettings,
    *,
    arguments: Mapping[str, Any],
    callbacks: "Sequence[TrainerCallback]",
) -> "PlainSftTrainer":
    """Makes TRL's trainer for encoded answers; `arguments` are those of `trainers.training_arguments`."""
    from datasets import Dataset
    from trl import SFTConfig

    from rlaif_dagster.training import trainers

    return trainers.PlainSftTrainer(
        model=policy,
        args=SFTConfig(
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=settings.max_length, **arguments
        ),
        train_dataset=Dataset.from_list(answers.rows),
        processing_class=tokenizer,
        peft_config=trainers.build_lora(settings.lora, task="CAUSAL_LM"),
        callbacks=list(callbacks),
    )


def train_supervised_policy(
    policy_path: Path,
    answers: Sequence[AnsweredPrompt],
    settings: OptimizerSettings,
    *,
    seed: int,
    device: "torch.device",
    output: Path,
    scratch: Path,
    restart: "Restart | None" = None,
    progress: Progress = ignore_progress,
) -> SupervisedResult:
    """Fine-tunes a policy on answers and writes its folder, which `AutoModelForCausalLM` opens.

    The loss is the cross-entropy over the tokens of the answers; prompts are only context.

    Args:
        policy_path: The policy to start from.
        answers: The answers to learn, each with its prompt.
        settings: How to train.
        seed: Decides the order of the rows and the adapters' initial weights.
        device: Where to train.
        output: An empty folder for the policy.
        scratch: A folder for temporary files, which are removed.
        restart: Where a killed training leaves what it needs to continue.
        progress: Called with the number of steps.

    Raises:
        ModelError: If the model cannot be opened.
        TrainingError: If there is nothing to learn from, or training diverges.
    """
    from rlaif_dagster.training import trainers

    policy, tokenizer = trainers.open_policy_to_train(policy_path, settings, seed=seed, device=device)
    encoded = encode_answers(tokenizer, answers, max_length=settings.max_length)
    if not encoded.rows:
        raise TrainingError(
            f"supervised_policy: none of the {len(answers)} answers is left to train on.\n"
            "  remedy: raise `revision.training.max_length`, or check in `revised_responses` why nothing was revised"
        )
    with trainers.trainer_workspace(scratch, restart) as folder:
        trainer = make_sft_trainer(
            policy,
            tokenizer,
            encoded,
            settings,
            arguments=trainers.training_arguments(
                settings, seed=seed, device=device, output_dir=folder, restart=restart
            ),
            callbacks=[trainers.ProgressCallback("supervised steps", progress)],
        )
        log = trainers.run_training(trainer, what=SUPERVISED_POLICY)
    trainers.save_model(trainer, tokenizer, output, dtype=settings.dtype)
    return SupervisedResult(
        num_answers=len(encoded.rows),
        num_dropped=encoded.num_dropped,
        num_empty=encoded.num_empty,
        num_cut=encoded.num_cut,
        losses=tuple(entry["loss"] for entry in log),
    )
