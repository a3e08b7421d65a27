"""Generates the judge's written replies. Each reply has its own seed, so that it does not depend on its batch."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.local_requests import EncodedCall, form_batches
from rlaif_dagster.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WRITING_BATCH_TOKENS: Final = 16384
"""How many tokens, including new ones, are in the key-value cache at once."""


def write_replies(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    requests: Sequence[EncodedCall],
    *,
    temperature: float,
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[list[Reply]]:
    """Yields the replies to requests batch by batch, longest first; a reply that reaches `max_new_tokens` ends there.

    Args:
        model: The judge's model.
        tokenizer: Its tokenizer.
        requests: The requests.
        temperature: Divides the logits; 0 always takes the most likely token.
        max_new_tokens: The longest reply, in tokens.
        batch_size: The largest batch of replies.
    """
    from rlaif_dagster.decoding import decode

    for batch in form_batches(
        requests, batch_size=batch_size, max_tokens=WRITING_BATCH_TOKENS, new_tokens=max_new_tokens
    ):
        # A call's id covers the judge, the texts and the repeat.
        seeds = [derive_seed(0, "verdict", request.call_id) for request in batch]
        replies = decode(
            model,
            tokenizer,
            [request.ids for request in batch],
            seeds,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
        )
        yield [
            Reply(
                call_id=request.call_id,
                status="ok",
                text=str(tokenizer.decode(reply, skip_special_tokens=True)),
                input_tokens=len(request.ids),
                output_tokens=len(reply),
                cut=request.cut,
            )
            for request, reply in zip(batch, replies, strict=True)
        ]
