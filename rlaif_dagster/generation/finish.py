"""How a response ends."""

from collections.abc import Collection, Sequence
from typing import Literal

FinishReason = Literal["stop", "length"]
"""`stop`: the policy ended the turn itself; `length`: it was cut at `max_new_tokens`."""


def find_finish_reason(token_ids: Sequence[int], ends: Collection[int]) -> FinishReason:
    """Says how a response ended.

    Args:
        token_ids: Its tokens, at least one.
        ends: The tokens that end a turn.
    """
    return "stop" if token_ids[-1] in ends else "length"
