"""Cuts answers that are too long for a judge.

The rule: only answers are cut, never the principle or the request. They are cut to a number of characters, counted
after `neutralise`, and followed by `CUT_MARK`, which no answer can contain. All answers of a request are cut by the
same limit, so that neither the order nor the side of an answer matters.
"""

from collections.abc import Callable, Mapping
from typing import Final

from rlaif_dagster.judging.templates import Harmless, neutralise, neutralise_once

CUT_MARK: Final = " ⟦THE REST IS CUT⟧"
ANSWERS: Final = ("first", "second", "answer")
"""The variables of templates that are answers."""


def cut_texts(texts: Mapping[str, str], max_chars: int | None) -> tuple[Mapping[str, str], bool]:
    """Cuts the answers among a call's texts; says whether any was cut.

    Args:
        texts: The values of the template's variables.
        max_chars: The longest allowed answer; None cuts nothing.
    """
    if max_chars is None:
        return texts, False
    shown = {name: neutralise_once(text) if name in ANSWERS else text for name, text in texts.items()}
    too_long = [name for name in ANSWERS if len(shown.get(name, "")) > max_chars]
    for name in too_long:
        shown[name] = Harmless(neutralise(shown[name][:max_chars]) + CUT_MARK)
    return shown, bool(too_long)


def find_limit(count: Callable[[int], int], room: int, highest: int) -> int | None:
    """Finds how much of the answers a judge can read.

    The limit is searched from below, so that no text much longer than what fits is tokenised, and then narrowed by
    false position with the Illinois change (Dowell and Jarratt 1971): tokens are nearly linear in characters.

    Args:
        count: Returns the tokens of the request if its answers are cut to a number of characters; never decreases.
        room: The most tokens that the judge can read.
        highest: Characters of the longest answer.

    Returns:
        The largest limit in [1, highest] with which the request fits; None if not even 1 does.
    """

    def exceed(limit: int) -> float:
        return count(limit) - room - 0.5  # never 0: below, it fits

    low = high = 1
    below = above = exceed(low)
    if below > 0:
        return None
    while above < 0:
        if high == highest:
            return highest
        low, below = high, above
        high = min(max(2 * high, room), highest)
        above = exceed(high)
    while high - low > 1:
        middle = low + round((high - low) * below / (below - above))
        middle = min(max(middle, low + 1), high - 1)
        excess = exceed(middle)
        if excess < 0:
            low, below, above = middle, excess, above / 2
        else:
            high, above, below = middle, excess, below / 2
    return low
