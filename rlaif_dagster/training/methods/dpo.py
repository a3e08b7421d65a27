"""Direct preference optimisation on soft labels, with the reward model as filter.

A pair is dropped if the reward model gives at least `reward_filter` probability to the answer that the label does not
prefer: then the label is an outlier among the labels on which the reward model was trained. The labels themselves stay
the judge's soft labels. torch and trl are imported inside the functions.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, model_validator

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.tables import Rows
from rlaif_dagster.training.method import Material, Method, PreparedTraining, Wording
from rlaif_dagster.training.pairs import LN_2, SIDES, encode_pairs, read_answer
from rlaif_dagster.training.settings import HeldSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rlaif_dagster.training.rewards import RewardModel

_NO_PREFERENCE = 0.5


class DpoSettings(HeldSettings):
    """Direct preference optimisation (Rafailov et al. 2023) with per-pair soft targets."""

    method: Literal["dpo"] = "dpo"
    loss: Literal["sigmoid", "ipo", "robust"] = "sigmoid"
    """See `training.losses`."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """For the robust loss: the assumed share of wrong labels."""
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """How strongly the policy is kept close to the reference policy."""
    reward_filter: float | None = Field(default=0.95, gt=0.5, lt=1)
    """A pair is dropped if the reward model gives at least this probability to the answer that the label
    does not prefer; null keeps every pair."""

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if (self.loss == "robust") != (self.label_smoothing > 0):
            raise ValueError(
                f"loss is {self.loss} with label_smoothing {self.label_smoothing}; "
                "remedy: set label_smoothing above 0 for the loss robust, and 0 for all others"
            )
        return self


def plan_dpo(
    material: Material, settings: DpoSettings, progress: Progress = ignore_progress
) -> PreparedTraining:
    """Filters and encodes the pairs, and computes their reference log-probabilities.

    Raises:
        TrainingError: If no pair is left.
    """
    from trl import DPOConfig
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from rlaif_dagster.training import examples, trainers

    del progress  # only the training takes long
    rows, tokenizer = material.rows, material.tokenizer
    is_kept = filter_by_reward(material.reward_model, rows, threshold=settings.reward_filter)
    encoded = encode_pairs(tokenizer, compress(rows, is_kept), max_length=settings.max_length)
    dropped = {
        "reward_model_contradicts": is_kept.count(False),
        "prompt_too_long": encoded.num_dropped,
        "empty_answer": encoded.num_empty,
    }
    if not len(encoded):
        raise TrainingError(
            f"policy: none of the {len(is_kept)} pairs is left to train on (dropped: {dropped}).\n"
            "  remedy: raise `policy.reward_filter` or `policy.max_length`"
        )
    reference = material.policy if material.reference is None else material.reference
    show = examples.show_dpo_pairs(encoded, reference, settings=settings)

    def make_trainer(arguments: Mapping[str, Any], callbacks: "Sequence[TrainerCallback]") -> Any:
        return trainers.SoftDpoTrainer(
            model=material.policy,
            args=DPOConfig(
                beta=settings.beta,
                loss_type=[settings.loss],
                label_smoothing=settings.label_smoothing,
                precompute_ref_log_probs=True,
                max_length=settings.max_length,
                **arguments,
            ),
            data_collator=examples.SoftLabelCollator(
                DataCollatorForPreference(
                    pad_token_id=tokenizer.pad_token_id, max_length=settings.max_length
                ),
                show,
            ),
            train_dataset=examples.list_places(encoded),
            processing_class=tokenizer,
            peft_config=trainers.build_lora(settings.lora, task="CAUSAL_LM"),
            callbacks=list(callbacks),
        )

    return PreparedTraining(
        make_trainer=make_trainer,
        counts={
            "num_train_pairs": len(encoded),
            "num_cut": encoded.num_cut,
            **{f"num_dropped_{reason}": count for reason, count in sorted(dropped.items())},
        },
        figures={"reward_margin": "rewards/margins", "reward_accuracy": "rewards/accuracies"},
    )


def filter_by_reward(reward_model: "RewardModel", rows: Rows, *, threshold: float | None) -> list[bool]:
    """Decides for each pair whether to keep it: whether the reward model does not confidently contradict it.

    Args:
        reward_model: The reward model, on its device.
        rows: `ai_preferences`.
        threshold: A pair is dropped if sigmoid(reward(other) - reward(preferred)) >= this; None keeps all. A label of
            exactly 0.5 prefers neither and is never contradicted.
    """
    if threshold is None:
        return [True] * len(rows)
    rewards = reward_model.score(read_answer(row, side) for side in SIDES for row in rows).means
    limit = math.log(threshold / (1 - threshold))
    num_rows = len(rewards) // 2
    is_kept = []
    for row, reward_a, reward_b in zip(rows, rewards[:num_rows], rewards[num_rows:], strict=True):
        against = reward_b - reward_a if row["p_a"] > _NO_PREFERENCE else reward_a - reward_b
        is_kept.append(row["p_a"] == _NO_PREFERENCE or against < limit)
    return is_kept


_LOSSES: Final = {
    "sigmoid": ("DPO loss (nats per pair)", LN_2),
    "robust": ("robust DPO loss (nats per pair)", LN_2),
    "ipo": ("IPO loss per pair", None),
}


def word_dpo(settings: DpoSettings) -> Wording:
    """Describes a training to people."""
    loss, chance = _LOSSES[settings.loss]
    return Wording(
        trainer="TRL's DPOTrainer with a soft target for each pair; pairs that the reward model confidently "
        "contradicts are dropped.",
        learned_from="training pairs",
        loss=loss,
        chance=chance,
    )


SETTINGS: Final = DpoSettings
METHOD: Final = Method(settings=DpoSettings, plan=plan_dpo, word=word_dpo)
