"""Answers one prompt, for people who try a policy."""

from typing import TYPE_CHECKING

from rlaif_dagster.generation.dialogues import Completion
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.generation.settings import PolicySampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def reply(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str,
    *,
    settings: PolicySampling,
    seed: int,
) -> Completion:
    """Answers a prompt with the same code that samples responses.

    Raises:
        ModelError: If there is no chat template, or the prompt does not fit the context.
    """
    return complete_prompts(model, tokenizer, [prompt], seeds=[seed], settings=settings, batch_size=1)[0]
