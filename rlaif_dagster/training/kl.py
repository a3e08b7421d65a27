"""Estimates how far a policy has moved from its reference, on the policy's own samples.

torch is imported inside the functions.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.generation.dialogues import AnsweredPrompt, Dialogue, encode_dialogues
from rlaif_dagster.models import open_causal_lm

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class KlEstimate:
    """KL(policy || reference) of whole responses, in nats per response.

    Both estimators are those of Schulman 2020, "Approximating KL divergence", and are unbiased for responses that
    the policy sampled at temperature 1 without top-p; otherwise they describe only the given responses.

    Attributes:
        k1: Mean over responses of log policy(response) - log reference(response). May be negative.
        k1_standard_error: The standard error of that mean; None for fewer than two responses.
        k3: Mean over responses of the sum over tokens of r - 1 - log r with r = reference(token) / policy(token);
            never negative, and of lower variance while the policies are close.
        num_responses: Responses used.
    """

    k1: float
    k1_standard_error: float | None
    k3: float
    num_responses: int

    @classmethod
    def from_log_probs(
        cls, policy: Sequence["torch.Tensor"], reference: Sequence["torch.Tensor"]
    ) -> "KlEstimate":
        """Builds the estimate from the log-probabilities of each response's tokens, shape `(token,)` each.

        Raises:
            ValueError: If there is no response.
        """
        if not policy:
            raise ValueError("KL needs at least one response")
        k1 = [float((p - q).double().sum()) for p, q in zip(policy, reference, strict=True)]
        k3 = compute_k3(policy, reference)
        error = statistics.stdev(k1) / math.sqrt(len(k1)) if len(k1) > 1 else None
        return cls(
            k1=statistics.fmean(k1),
            k1_standard_error=error,
            k3=statistics.fmean(k3),
            num_responses=len(k1),
        )


def compute_k3(policy: Sequence["torch.Tensor"], reference: Sequence["torch.Tensor"]) -> list[float]:
    """Computes what each response adds to the k3 estimate (see `KlEstimate`), from its tokens' log-probabilities."""
    log_ratios = [(p - q).double() for p, q in zip(policy, reference, strict=True)]
    return [float((ratio.neg().expm1() + ratio).sum()) for ratio in log_ratios]


def estimate_kl(
    policy_path: Path,
    reference_path: Path,
    answers: Sequence[AnsweredPrompt],
    *,
    device: "torch.device",
    batch_size: int = 32,
    dtype: str = "float32",
) -> KlEstimate:
    """Estimates the KL divergence of a policy from its reference.

    Args:
        policy_path: The policy's folder.
        reference_path: The reference policy's folder, with the same tokenizer.
        answers: The policy's samples, at least one. They are encoded again, with the end-of-turn token unless they were
            cut.
        device: Where to compute.
        batch_size: The number of responses computed at once.
        dtype: Precision of both models.

    Raises:
        ModelError: If a model cannot be opened.
        ValueError: If there are no answers.
    """
    policy, reference = _log_probs_of_both(
        policy_path, reference_path, answers, device=device, batch_size=batch_size, dtype=dtype
    )
    return KlEstimate.from_log_probs(policy, reference)


def measure_log_ratios(
    policy_path: Path,
    reference_path: Path,
    answers: Sequence[AnsweredPrompt],
    *,
    device: "torch.device",
    batch_size: int = 32,
    dtype: str = "float32",
) -> list[float]:
    """Measures log policy(answer) - log reference(answer) of each answer, in nats.

    Over answers that the policy sampled at temperature 1, its mean is the k1 estimate of KL(policy || reference).

    Raises:
        ModelError: If a model cannot be opened.
    """
    policy, reference = _log_probs_of_both(
        policy_path, reference_path, answers, device=device, batch_size=batch_size, dtype=dtype
    )
    return [float((p - q).double().sum()) for p, q in zip(policy, reference, strict=True)]


def measure_log_likelihoods(
    policy_path: Path,
    answers: Sequence[AnsweredPrompt],
    *,
    device: "torch.device",
    batch_size: int = 32,
    dtype: str = "float32",
) -> "list[torch.Tensor]":
    """Measures the log-probability of each token of each answer, including its end-of-turn token, in nats.

    Args:
        policy_path: The policy's folder.
        answers: The answers to measure, each with its prompt.
        device: Where to compute.
        batch_size: The number of answers computed at once.
        dtype: Precision of the policy.

    Raises:
        ModelError: If the model cannot be opened.
    """
    model, tokenizer = open_causal_lm(policy_path, dtype=dtype)
    on_device: Any = model
    return compute_log_probs(
        on_device.to(device), encode_dialogues(tokenizer, answers), batch_size=batch_size
    )


def _log_probs_of_both(
    policy_path: Path,
    reference_path: Path,
    answers: Sequence[AnsweredPrompt],
    *,
    device: "torch.device",
    batch_size: int,
    dtype: str,
) -> "list[list[torch.Tensor]]":
    policy, tokenizer = open_causal_lm(policy_path, dtype=dtype)
    reference, _ = open_causal_lm(reference_path, dtype=dtype)
    dialogues = encode_dialogues(tokenizer, answers)
    log_probs = []
    for model in (policy, reference):
        on_device: Any = model
        log_probs.append(compute_log_probs(on_device.to(device), dialogues, batch_size=batch_size))
    return log_probs


def compute_log_probs(model: Any, dialogues: Sequence[Dialogue], *, batch_size: int) -> list["torch.Tensor"]:
    """Computes the log-probability of each token of each answer; see `stream_log_probs`.

    Returns:
        For each dialogue a float32 tensor of shape `(completion,)`, on the CPU, in nats.
    """
    log_probs = dict(stream_log_probs(model, dialogues, batch_size=batch_size))
    return [log_probs[i] for i in range(len(dialogues))]


def stream_log_probs(
    model: Any, dialogues: Sequence[Dialogue], *, batch_size: int
) -> "Iterator[tuple[int, torch.Tensor]]":
    """Computes the log-probability of each token of each answer, with one batch in memory.

    Args:
        model: A causal language model on its device.
        dialogues: Each with a prompt of at least one token.
        batch_size: The number of dialogues computed at once, of similar length.

    Yields:
        The index of each dialogue, short ones first, and its log-probabilities as from `compute_log_probs`.
    """
    import torch

    order = sorted(range(len(dialogues)), key=lambda i: len(dialogues[i].input_ids))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        starts = [len(dialogues[i].prompt_ids) for i in batch]
        rows = [torch.tensor(dialogues[i].input_ids) for i in batch]
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        attention_mask = (torch.arange(input_ids.shape[1])[None] < lengths[:, None]).long()
        with torch.inference_mode():
            logits = model(
                input_ids=input_ids.to(model.device), attention_mask=attention_mask.to(model.device)
            ).logits
        for row, i in enumerate(batch):
            # The token at position t is predicted at t - 1.
            predicted = logits[row, starts[row] - 1 : len(rows[row]) - 1].float().log_softmax(dim=-1)
            targets = rows[row][starts[row] :].to(predicted.device)
            yield i, predicted.gather(-1, targets[:, None])[:, 0].cpu()
