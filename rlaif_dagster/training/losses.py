"""Losses against soft preferences, as free functions. Needs torch: import it lazily.

A soft label `p_a` is the probability that answer a is the better one. Each loss is the mean of the usual loss over
the two hard labels, with p_a and 1 - p_a as weights; at `p_a` of 1 and 0 it is the usual one.
"""

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    import torch


def soft_bradley_terry_loss(
    margin: "torch.Tensor", p_a: "torch.Tensor", label_margin: float = 0.0
) -> "torch.Tensor":
    """Cross-entropy of the Bradley-Terry probability sigmoid(reward_a - reward_b) against a soft label.

        -p_a log sigmoid(margin) - (1 - p_a) log sigmoid(-margin)

    Bradley and Terry 1952; with hard labels the loss of Ouyang et al. 2022 (InstructGPT), equation 1. A label margin
    requires rewards to be further apart: it is subtracted in the direction of the label, in proportion to the label's
    certainty; with hard labels this is equation 2 of Touvron et al. 2023 (Llama 2), and TRL's.

    Args:
        margin: reward_a - reward_b, shape `(batch,)`.
        p_a: Soft labels in [0, 1], shape `(batch,)`.
        label_margin: The margin of a sure label, >= 0.

    Returns:
        The loss of each pair in nats, shape `(batch,)`; smallest where
        sigmoid(margin - label_margin (2 p_a - 1)) = p_a.
    """
    if label_margin:
        margin = margin - label_margin * (2 * p_a - 1)
    return functional.binary_cross_entropy_with_logits(margin, p_a, reduction="none")


def soft_dpo_loss(logratio_margin: "torch.Tensor", p_a: "torch.Tensor", beta: float) -> "torch.Tensor":
    """The DPO loss against a soft label.

        -p_a log sigmoid(beta m) - (1 - p_a) log sigmoid(-beta m)

    where m = log(pi(a)/ref(a)) - log(pi(b)/ref(b)). With hard labels this is equation 7 of Rafailov et al. 2023;
    with a constant p_a = 1 - epsilon it is conservative DPO (Mitchell 2023), here with a label for each pair.

    Args:
        logratio_margin: m, shape `(batch,)`.
        p_a: Soft labels in [0, 1], shape `(batch,)`.
        beta: Strength of the tie to the reference policy, > 0.

    Returns:
        The loss of each pair in nats, shape `(batch,)`; smallest where sigmoid(beta m) = p_a.
    """
    return soft_bradley_terry_loss(beta * logratio_margin, p_a)


def soft_robust_dpo_loss(
    logratio_margin: "torch.Tensor", p_a: "torch.Tensor", beta: float, label_smoothing: float
) -> "torch.Tensor":
    """The DPO loss corrected for label noise: unbiased if a share of the labels is flipped.

    With hard labels this is equation 12 of Chowdhury et al. 2024, "Provably robust DPO"; it equals the DPO loss
    against the label (p_a - epsilon) / (1 - 2 epsilon), which may lie outside [0, 1]: the loss is then unbounded below.

    Args:
        logratio_margin: m as in `soft_dpo_loss`, shape `(batch,)`.
        p_a: Soft labels in [0, 1], shape `(batch,)`.
        beta: Strength of the tie to the reference policy, > 0.
        label_smoothing: epsilon, the assumed share of wrong labels, in [0, 0.5).
    """
    return soft_dpo_loss(logratio_margin, (p_a - label_smoothing) / (1 - 2 * label_smoothing), beta)


def soft_ipo_loss(mean_logratio_margin: "torch.Tensor", p_a: "torch.Tensor", beta: float) -> "torch.Tensor":
    """The IPO loss against a soft label.

        p_a (h - 1 / (2 beta))^2 + (1 - p_a) (h + 1 / (2 beta))^2

    With hard labels this is equation 17 of Azar et al. 2023, with beta for its tau, and with log-ratios per token as in
    TRL.

    Args:
        mean_logratio_margin: h = mean over a's tokens of log(pi/ref) - the same of b, shape `(batch,)`.
        p_a: Soft labels in [0, 1], shape `(batch,)`.
        beta: Strength of the tie to the reference policy, > 0.

    Returns:
        The loss of each pair, shape `(batch,)`; smallest where h = (2 p_a - 1) / (2 beta).
    """
    target = 1 / (2 * beta)
    return p_a * (mean_logratio_margin - target) ** 2 + (1 - p_a) * (mean_logratio_margin + target) ** 2
