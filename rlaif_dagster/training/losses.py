"""Losses against soft preferences, as free functions. Needs torch: import it lazily.

A soft label `p_a` is the probability that answer a is the better one. Both losses are the cross-entropy between
it and the model's own probability, so at `p_a` of 1 and 0 they are the usual ones.
"""

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    import torch


def soft_bradley_terry_loss(margin: "torch.Tensor", p_a: "torch.Tensor") -> "torch.Tensor":
    """Cross-entropy of the Bradley-Terry probability sigmoid(reward_a - reward_b) against a soft label.

        -p_a log sigmoid(margin) - (1 - p_a) log sigmoid(-margin)

    Bradley and Terry 1952; with hard labels the loss of Ouyang et al. 2022 (InstructGPT), equation 1.

    Args:
        margin: reward_a - reward_b, shape `(batch,)`.
        p_a: Soft labels in [0, 1], shape `(batch,)`.

    Returns:
        The loss of each pair in nats, shape `(batch,)`; smallest where sigmoid(margin) = p_a.
    """
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
