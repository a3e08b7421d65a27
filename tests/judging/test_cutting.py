"""Answers are cut by one limit, visibly, and by nobody but us."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.judging.cutting import CUT_MARK, cut_texts, find_limit
from rlaif_dagster.judging.templates import load_template, neutralise

TEXT = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("⟦⟧<|>\n\r\u200d\U0001f469")), max_size=40)


def test_a_worked_example() -> None:
    texts = {"principle": "Be very brief.", "prompt": "Why, oh why?", "first": "Because", "second": "So"}
    shown, was_cut = cut_texts(texts, 3)
    assert was_cut
    assert shown == {**texts, "first": "Bec ⟦THE REST IS CUT⟧"}
    assert cut_texts(texts, 7) == (texts, False)
    assert cut_texts(texts, None) == (texts, False)
    assert cut_texts({"answer": "Because"}, 2)[0] == {"answer": "Be ⟦THE REST IS CUT⟧"}


@pytest.mark.slow
@given(first=TEXT, second=TEXT, limit=st.integers(1, 30))
def test_the_order_does_not_matter_and_what_is_left_is_harmless(first: str, second: str, limit: int) -> None:
    one, was_cut = cut_texts({"first": first, "second": second}, limit)
    other, _ = cut_texts({"first": second, "second": first}, limit)
    assert (one["first"], one["second"]) == (other["second"], other["first"])
    assert was_cut == (max(len(neutralise(first)), len(neutralise(second))) > limit)
    for text in one.values():
        left = text.removesuffix(CUT_MARK)
        assert len(left) <= limit
        assert neutralise(left) == left


@given(first=TEXT, second=TEXT, limit=st.integers(1, 30))
def test_only_a_cut_writes_the_mark(first: str, second: str, limit: int) -> None:
    texts = {
        "principle": f"r{CUT_MARK}",
        "prompt": f"p{CUT_MARK}",
        "first": first + CUT_MARK,
        "second": second,
    }
    for name in ("pairwise", "compact"):
        shown, _ = cut_texts(texts, limit)
        messages = load_template(name).render(shown)
        num_cut = sum(len(neutralise(texts[side])) > limit for side in ("first", "second"))
        assert sum(message["content"].count(CUT_MARK) for message in messages) == num_cut


def count_probes(count: Callable[[int], int], room: int, highest: int) -> tuple[int | None, list[int]]:
    probes: list[int] = []

    def look(limit: int) -> int:
        probes.append(limit)
        return count(limit)

    return find_limit(look, room, highest), probes


@given(
    steps=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    base=st.integers(0, 200),
    room=st.integers(1, 900),
)
def test_the_limit_is_the_largest_that_fits(steps: list[int], base: int, room: int) -> None:
    counts = [base]
    for step in steps:
        counts.append(counts[-1] + step)
    highest = len(steps)
    limit, _ = count_probes(counts.__getitem__, room, highest)
    assert limit == max((n for n in range(1, highest + 1) if counts[n] <= room), default=None)


@pytest.mark.parametrize("per_char", [0.02, 0.25, 1.0, 4.0])
def test_little_more_is_tokenised_than_fits(per_char: float) -> None:
    """Of an answer of a million characters, some times as many as the judge reads."""
    limit, probes = count_probes(lambda n: 100 + int(per_char * n), 1000, 1_000_000)
    assert limit is not None
    assert max(probes) <= max(2 * limit, 1000)
    assert sum(probes) <= 12 * max(limit, 1000)
