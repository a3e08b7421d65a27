"""Recorded responses are tied to prompts; what is wrong is named by file, line and field."""

import json
from pathlib import Path

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.generation.responses import measure_share_cut, responses_schema
from rlaif_dagster.generation.samplers.recorded import import_responses
from rlaif_dagster.prompts import identify_prompt
from rlaif_dagster.tables import write_table

PROMPTS = [{"prompt_id": identify_prompt(text), "prompt": text} for text in ("Why?", "How?")]
GOOD = {"prompt": "Why?", "source": "gpt-4", "text": "Because."}


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "responses.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_prompts_are_found_by_text_or_by_id_and_given_ids_are_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"prompt": " Why? ", "source": "gpt-4", "text": "Because.", "response_id": "q1/gpt-4"},
        "",
        {"prompt_id": identify_prompt("Why?"), "source": "alpaca", "text": "No idea."},
    )
    result = import_responses(path, PROMPTS)
    assert [(row["prompt_id"], row["source"], row["index"]) for row in result.rows] == [
        (identify_prompt("Why?"), "gpt-4", 0),
        (identify_prompt("Why?"), "alpaca", 1),
    ]
    assert result.rows[0]["response_id"] == "q1/gpt-4"
    assert len(result.rows[1]["response_id"]) == 16
    assert result.num_by_source == {"alpaca": 1, "gpt-4": 1}
    assert write_table(tmp_path / "t.parquet", result.rows, responses_schema()) == 2


def test_a_line_may_say_that_its_answer_was_cut(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        GOOD,
        {**GOOD, "text": "Because it", "finish_reason": "length"},
        {**GOOD, "text": "Why not?", "finish_reason": "stop"},
    )
    rows = import_responses(path, PROMPTS).rows
    assert [row["finish_reason"] for row in rows] == [None, "length", "stop"]
    assert measure_share_cut(rows) == 0.5  # of the two of which that is known
    assert measure_share_cut(rows[:1]) is None


def test_an_id_that_is_not_given_follows_from_the_content_alone(tmp_path: Path) -> None:
    other = {**GOOD, "source": "vicuna"}
    there = import_responses(write(tmp_path, GOOD, other), PROMPTS).rows
    back = import_responses(write(tmp_path, other, GOOD), PROMPTS).rows
    assert {row["source"]: row["response_id"] for row in there} == {
        row["source"]: row["response_id"] for row in back
    }


@pytest.mark.parametrize(
    ("line", "field", "problem"),
    [
        ("{not json", None, "not valid JSON"),
        ({**GOOD, "text": "  "}, "text", "empty"),
        ({**GOOD, "source": ""}, "source", "empty"),
        ({**GOOD, "response_id": ""}, "response_id", "empty"),
        ({**GOOD, "text": 3}, "text", "string"),
        ({**GOOD, "score": 3}, "score", "unknown field"),
        ({**GOOD, "finish_reason": "cut"}, "finish_reason", "'stop' or 'length'"),
        ({"source": "gpt-4", "text": "Because."}, "prompt", "names no prompt"),
        ({**GOOD, "prompt": "When?"}, "prompt", "the project has no prompt 'When\\?'"),
        ({"prompt_id": "f00", "source": "a", "text": "b"}, "prompt_id", "the project has no prompt 'f00'"),
        ({**GOOD, "prompt_id": "f00"}, "prompt_id", "is not the id of the text"),
        (GOOD, "response_id", "already on line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, field: str | None, problem: str) -> None:
    path = write(tmp_path, GOOD, line)
    with pytest.raises(InputError, match=problem) as caught:
        import_responses(path, PROMPTS)
    assert (caught.value.file, caught.value.line, caught.value.field) == (path, 2, field)
    assert caught.value.remedy


def test_a_file_without_responses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no responses"):
        import_responses(write(tmp_path, ""), PROMPTS)
