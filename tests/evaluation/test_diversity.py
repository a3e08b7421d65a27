"""Laws of the variety of answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.evaluation.diversity import find_distinct_share, find_self_similarity, measure_diversity

TEXTS = st.lists(
    st.sampled_from(["", "Yes.", "the sky is blue", "the sky is grey", "I think so"]), min_size=2
)


def test_the_figures_worked_by_hand() -> None:
    """Words: the sky is blue / the sky is grey: 5 different of 8; pairs of words 4 of 6, of which both have 2 of 4."""
    texts = ["The sky is blue.", "the sky, is GREY"]
    assert find_distinct_share(texts, 1) == 5 / 8
    assert find_distinct_share(texts, 2) == 4 / 6
    assert find_self_similarity(texts) == 2 / 4
    assert find_self_similarity(["Yes.", "yes", "No."]) == 1 / 3
    assert find_self_similarity(["", ""]) == 1.0
    assert find_distinct_share(["", "!"], 1) is None


@given(texts=TEXTS)
def test_shares_are_shares_and_the_order_of_answers_changes_nothing(texts: list[str]) -> None:
    assert 0.0 <= find_self_similarity(texts) <= 1.0
    assert find_self_similarity(texts[::-1]) == pytest.approx(find_self_similarity(texts))
    assert find_distinct_share(texts[::-1], 2) == find_distinct_share(texts, 2)


def test_a_policy_that_says_one_thing_is_seen() -> None:
    base = {f"p{n}": [f"answer {n} one", f"reply {n} two", f"word {n} three"] for n in range(8)}
    aligned = {prompt: [texts[0]] * 3 for prompt, texts in base.items()}
    figures = {figure.name: figure for figure in measure_diversity(base, aligned)}
    assert figures["self_similarity"].aligned.value == 1.0
    assert figures["self_similarity"].difference.is_above(0.3)
    assert figures["distinct_answers"].aligned.value == pytest.approx(1 / 3)
    assert figures["distinct_1"].difference.value == pytest.approx(3 / 9 - 7 / 9)
    assert figures["distinct_2"].base.n == 8  # prompts


def test_one_answer_to_a_prompt_has_no_variety() -> None:
    assert measure_diversity({"p": ["a", "b"]}, {"p": ["a"]}) == ()
    assert measure_diversity({"p": ["a", "b"]}, {}) == ()
