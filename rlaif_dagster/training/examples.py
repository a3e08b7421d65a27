"""Encoded pairs in the form of TRL's preference trainers. Needs torch and datasets: import it lazily.

The data set contains the indices of the pairs, and the collator looks the pairs up. So their tokens are in memory once,
in `EncodedPairs`, and become lists only for a batch.
"""

from array import array
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset

from rlaif_dagster.tables import Row
from rlaif_dagster.training.kl import stream_log_probs
from rlaif_dagster.training.pairs import EncodedPairs
from rlaif_dagster.training.settings import OptimizerSettings


class SoftLabelCollator:
    """A TRL collator for `list_places`, whose batches also have the soft labels, `p_a` of shape `(pair,)`."""

    def __init__(
        self, collate: Callable[[list[Row]], dict[str, torch.Tensor]], show: Callable[[int], Row]
    ) -> None:
        """Wraps TRL's collator, with `show_reward_pairs` or `show_dpo_pairs`."""
        self._collate, self._show = collate, show

    def __call__(self, examples: list[Row]) -> dict[str, torch.Tensor]:
        """Looks the pairs up, pads and stacks them."""
        pairs = [self._show(example["place"]) for example in examples]
        batch = self._collate(pairs)
        batch["p_a"] = torch.tensor([pair["p_a"] for pair in pairs], dtype=torch.float32)
        return batch


def list_places(pairs: EncodedPairs) -> Dataset:
    """Makes the data set for a trainer whose `SoftLabelCollator` looks the pairs up."""
    return Dataset.from_dict({"place": range(len(pairs))})


def show_reward_pairs(pairs: EncodedPairs) -> Callable[[int], Row]:
    """Shows each pair under the names that RewardTrainer reads: whole dialogues."""

    def show(place: int) -> Row:
        a, b = pairs.dialogues[2 * place : 2 * place + 2]
        return {"chosen_ids": a.input_ids, "rejected_ids": b.input_ids, "p_a": pairs.p_a[place]}

    return show


def show_dpo_pairs(
    pairs: EncodedPairs, reference: Any, *, settings: OptimizerSettings
) -> Callable[[int], Row]:
    """Shows each pair under the names that DPOTrainer reads, with the reference's log-probability of each answer.

    Args:
        pairs: Encoded pairs.
        reference: The reference policy on its device, which measures all answers now.
        settings: Batch size and precision.
    """
    logps = array("d", bytes(8 * len(pairs.dialogues)))
    with torch.autocast(reference.device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
        for i, tokens in stream_log_probs(reference, pairs.dialogues, batch_size=2 * settings.batch_size):
            logps[i] = float(tokens.sum())

    def show(place: int) -> Row:
        a, b = pairs.dialogues[2 * place : 2 * place + 2]
        return {
            "prompt_ids": a.prompt_ids,
            "chosen_ids": a.completion_ids,
            "rejected_ids": b.completion_ids,
            "ref_chosen_logps": logps[2 * place],
            "ref_rejected_logps": logps[2 * place + 1],
            "p_a": pairs.p_a[place],
        }

    return show
