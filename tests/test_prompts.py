import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import InputError
from rlaif_dagster.prompts import PromptLine, find_leaks, identify_prompt, read_prompt_lines, split_prompts

TEXTS = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=30)


def lines(texts: list[str]) -> list[PromptLine]:
    return [PromptLine(prompt=text) for text in texts]


@given(TEXTS)
def test_each_different_prompt_is_kept_once(texts: list[str]) -> None:
    result = split_prompts(lines(texts), eval_fraction=0.5, root_seed=1)
    ids = [prompt.prompt_id for prompt in result.prompts]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {identify_prompt(text) for text in texts}
    assert len(ids) + result.num_duplicates == len(texts)


@given(TEXTS, st.text(min_size=1).filter(str.strip))
def test_a_further_prompt_moves_no_other_between_the_splits(texts: list[str], further: str) -> None:
    before = split_prompts(lines(texts), eval_fraction=0.5, root_seed=1).prompts
    after = split_prompts(lines([further, *texts]), eval_fraction=0.5, root_seed=1).prompts
    assert set(before) <= set(after)


@given(TEXTS)
def test_the_order_of_lines_changes_nothing(texts: list[str]) -> None:
    assert split_prompts(lines(texts), eval_fraction=0.3, root_seed=2) == split_prompts(
        lines(texts[::-1]), eval_fraction=0.3, root_seed=2
    )


@given(TEXTS)
def test_near_copies_stay_in_one_split(texts: list[str]) -> None:
    near = [text.swapcase() + " !" for text in texts]
    result = split_prompts(lines(texts + near), eval_fraction=0.5, root_seed=3)
    assert find_leaks(result.prompts) == []


def test_a_near_copy_in_the_other_split_is_found() -> None:
    train, *_ = split_prompts(lines(["How are you?"]), eval_fraction=0.01, root_seed=0).prompts
    held_out, *_ = split_prompts(lines(["how are  you"]), eval_fraction=0.99, root_seed=0).prompts
    assert (train.split, held_out.split) == ("train", "eval")
    assert find_leaks([train, held_out]) == [(train.prompt_id, held_out.prompt_id)]


def test_the_share_held_out_is_the_fraction_asked_for() -> None:
    """4,000 draws at 0.3: five standard deviations are 0.036."""
    result = split_prompts(lines([f"prompt {i}" for i in range(4000)]), eval_fraction=0.3, root_seed=4)
    share = sum(prompt.split == "eval" for prompt in result.prompts) / 4000
    assert abs(share - 0.3) < 0.036


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', 2, "not valid JSON"),
        ('{"prompt": "a"}\n\n{"prompt": "  "}\n', 3, "the prompt is empty"),
        ('{"prompt": 3}\n', 1, "string"),
        ('{"prompt": "a", "tag": 1}\n', 1, "unknown field"),
        ("[1]\n", 1, "got [1]"),
        ("", None, "the file has no prompts"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, line: int | None, words: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read_prompt_lines(file)
    assert caught.value.line == line
    assert words in str(caught.value)
    assert "remedy:" in str(caught.value)


def test_lines_are_split_at_newlines_only(tmp_path: Path) -> None:
    """A JSON string may hold U+2028, which `str.splitlines` would split."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "one\u2028two"}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert [line.prompt for line in read_prompt_lines(file)] == ["one\u2028two"]
