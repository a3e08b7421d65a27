import hashlib
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.judging.pairs import Pair, PairingSettings, form_pairs, order_pairs_evenly


def rows(texts_by_prompt: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {"response_id": f"{prompt}{number}", "prompt_id": prompt, "text": text}
        for prompt, texts in texts_by_prompt.items()
        for number, text in enumerate(texts)
    ]


PROMPTS = st.dictionaries(
    st.sampled_from("pqrst"), st.lists(st.sampled_from("abcdefgh"), max_size=8), max_size=4
)


@pytest.mark.parametrize("n", range(15))
def test_the_order_holds_every_pair_once_and_uses_numbers_evenly_at_each_length(n: int) -> None:
    pairs = order_pairs_evenly(n)
    assert sorted(tuple(sorted(pair)) for pair in pairs) == list(itertools.combinations(range(n), 2))
    uses = dict.fromkeys(range(n), 0)
    for pair in pairs:
        for number in pair:
            uses[number] += 1
        assert max(uses.values()) - min(uses.values()) <= 1


@given(PROMPTS)
def test_without_a_cap_all_pairs_of_different_texts_are_there(texts: dict[str, list[str]]) -> None:
    result = form_pairs(rows(texts), PairingSettings(), 0)
    distinct = {prompt: len(set(answers)) for prompt, answers in texts.items() if answers}
    assert Counter(pair.prompt_id for pair in result.pairs) == Counter(
        {prompt: n * (n - 1) // 2 for prompt, n in distinct.items()}
    )
    assert result.num_identical == sum(map(len, texts.values())) - sum(distinct.values())
    assert result.num_single == sum(n < 2 for n in distinct.values())
    assert result.num_capped == 0


@given(PROMPTS, st.integers(1, 9), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_cap_is_kept_evenly_whatever_the_order_of_rows_and_the_other_prompts(
    texts: dict[str, list[str]], cap: int, seed: int, random: Any
) -> None:
    settings = PairingSettings(max_pairs_per_prompt=cap)
    table = rows(texts)
    result = form_pairs(table, settings, seed)
    random.shuffle(table)
    assert form_pairs(table, settings, seed) == result
    every = [len(set(answers)) * (len(set(answers)) - 1) // 2 for answers in texts.values()]
    assert repr(result.num_capped) == repr(sum(every) - len(result.pairs))  # a whole number, as rows are
    for prompt, answers in texts.items():
        own = tuple(pair for pair in result.pairs if pair.prompt_id == prompt)
        assert form_pairs(rows({prompt: answers}), settings, seed).pairs == own
        n = len(set(answers))
        assert len(own) == min(cap, n * (n - 1) // 2)
        uses = Counter(response for pair in own for response in (pair.response_a, pair.response_b))
        if own:
            assert max(uses.values()) - min([*uses.values(), *[0] * (len(uses) < n)]) <= 1


@given(PROMPTS, st.none() | st.integers(1, 9), st.randoms(use_true_random=False))
def test_pairs_are_sorted_by_prompt_and_responses(
    texts: dict[str, list[str]], cap: int | None, random: Any
) -> None:
    """Not by their ids, which are digests."""
    table = rows(texts)
    random.shuffle(table)
    pairs = form_pairs(table, PairingSettings(max_pairs_per_prompt=cap), 0).pairs
    named = [(pair.prompt_id, pair.response_a, pair.response_b) for pair in pairs]
    assert named == sorted(named)


def test_the_seed_chooses_among_capped_pairs() -> None:
    table = rows({"p": list("abcdefgh")})
    settings = PairingSettings(max_pairs_per_prompt=4)
    assert len({form_pairs(table, settings, seed).pairs for seed in range(5)}) > 1


def test_the_same_pairs_are_chosen_in_every_version() -> None:
    """Judges were paid for the verdicts on them: 4 of 28 pairs, 4 of 21, 4 of 10, and all of 3."""
    table = rows({"p": list("abcdefgh"), "q": list("abcdefg"), "r": list("abc"), "s": list("abcde")})
    result = form_pairs(table, PairingSettings(max_pairs_per_prompt=4), 1)
    chosen = [pair.response_a + pair.response_b[1] for pair in result.pairs]
    assert chosen == [
        *("p02", "p15", "p36", "p47", "q02", "q16", "q24", "q35"),
        *("r01", "r02", "r12", "s02", "s14", "s23", "s34"),
    ]
    assert result.num_capped == 47


def test_the_first_id_stands_for_identical_texts() -> None:
    result = form_pairs(rows({"p": ["x", "y", "x"]}), PairingSettings(), 0)
    assert [(pair.response_a, pair.response_b) for pair in result.pairs] == [("p0", "p1")]
    assert result.num_identical == 1


def test_a_pair_has_one_name_whichever_way_its_responses_are_given() -> None:
    pair = Pair.from_responses("p", "r2", "r1")
    assert pair == Pair.from_responses("p", "r1", "r2")
    assert pair.pair_id == hashlib.sha256(b'["p","r1","r2"]').hexdigest()[:16]
    with pytest.raises(ValueError, match="not before"):
        Pair(pair_id="x", prompt_id="p", response_a="r2", response_b="r1")
    with pytest.raises(ValueError, match="not before"):
        Pair.from_responses("p", "r1", "r1")
