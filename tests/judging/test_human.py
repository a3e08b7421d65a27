"""Labels by people: what a line may name, and what several people make of a pair."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.human import HumanLabels, read_human_labels
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.prompts import identify_prompt

PROMPT = identify_prompt("How?")
PROMPTS = {PROMPT: "How?"}
RESPONSES = [
    {"response_id": "r1", "prompt_id": PROMPT, "text": "So."},
    {"response_id": "r2", "prompt_id": PROMPT, "text": "Like that."},
    {"response_id": "r3", "prompt_id": PROMPT, "text": "So."},
    {"response_id": "x1", "prompt_id": "other", "text": "No."},
]
PAIR = Pair.from_responses(PROMPT, "r1", "r2")


def read(tmp_path: Path, *lines: dict[str, Any]) -> HumanLabels:
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_human_labels(file, prompts=PROMPTS, responses=RESPONSES)


def by_id(a: str, b: str, label: str, **more: Any) -> dict[str, Any]:
    return {"prompt": "How?", "response_a": a, "response_b": b, "label": label, **more}


def test_a_label_speaks_of_the_pair_however_the_line_names_it(tmp_path: Path) -> None:
    for line in (
        by_id("r1", "r2", "a"),
        by_id("r2", "r1", "b"),
        {"prompt_id": PROMPT, "text_a": "So.", "text_b": "Like that.", "label": "a"},
        {"prompt": " How? ", "text_a": "Like that.", "response_b": "r1", "label": "b"},
    ):
        assert read(tmp_path, line).labels == {PAIR: "a"}


def test_most_votes_win_and_as_many_make_a_tie(tmp_path: Path) -> None:
    votes = [("a", "kim"), ("a", "lee"), ("b", "max")]
    assert read(tmp_path, *(by_id("r1", "r2", v, annotator=n) for v, n in votes)).labels == {PAIR: "a"}
    assert read(tmp_path, *(by_id("r1", "r2", v, annotator=n) for v, n in votes[1:])).labels == {PAIR: "tie"}
    assert read(tmp_path, by_id("r1", "r2", "tie")).labels == {PAIR: "tie"}


def test_prompts_and_answers_of_the_file_s_own_are_taken(tmp_path: Path) -> None:
    labels = read(tmp_path, {"prompt": "Why?", "text_a": "Because.", "text_b": "Who knows.", "label": "tie"})
    ((pair, label),) = labels.labels.items()
    assert label == "tie"
    assert labels.prompts == {pair.prompt_id: "Why?"}
    assert {labels.texts[pair.response_a], labels.texts[pair.response_b]} == {"Because.", "Who knows."}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file has no labels"),
        ([by_id("r1", "r9", "a")], "there is no response 'r9' to this prompt"),
        ([by_id("r1", "x1", "a")], "there is no response 'x1' to this prompt"),
        ([by_id("r1", "r3", "a")], "the same text"),
        ([by_id("r1", "r2", "a"), by_id("r2", "r1", "b")], "line 1 has a label of the same annotator"),
        ([{"prompt_id": "q", "text_a": "x", "text_b": "y", "label": "a"}], "there is no prompt 'q'"),
        ([{"text_a": "x", "text_b": "y", "label": "a"}], "names no prompt, or two"),
        ([by_id("r1", "r2", "a", text_a="x")], "names no answer a, or two"),
        ([by_id("r1", "r2", "c")], "label"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, *lines)
