import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.recorded import read_recorded_verdicts
from rlaif_dagster.judging.verdicts import RecordedResult
from rlaif_dagster.prompts import identify_prompt

PROMPT = identify_prompt("How?")
RESPONSES = [
    {"response_id": "r1", "prompt_id": PROMPT, "source": "gpt"},
    {"response_id": "r2", "prompt_id": PROMPT, "source": "llama"},
    {"response_id": "r3", "prompt_id": PROMPT, "source": "llama"},
    {"response_id": "s1", "prompt_id": "other", "source": "gpt"},
]
LINE = {"response_a": "r1", "response_b": "r2", "order": "ab", "verdict": "first"}


def read(tmp_path: Path, *lines: Mapping[str, Any] | str, **options: Any) -> RecordedResult:
    path = tmp_path / "verdicts.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return read_recorded_verdicts(path, RESPONSES, **options)


def test_a_line_becomes_a_verdict(tmp_path: Path) -> None:
    result = read(
        tmp_path, {**LINE, "p_first": 0.75, "judge": "gpt-4", "raw_text": "[[A]]", "principle_id": "kind"}
    )
    (verdict,) = result.verdicts
    (pair,) = result.pairs
    assert (pair.prompt_id, pair.response_a, pair.response_b) == (PROMPT, "r1", "r2")
    assert (verdict.pair_id, verdict.order, verdict.status) == (pair.pair_id, "ab", "ok")
    assert (verdict.verdict, verdict.p_first, verdict.probability_a) == ("first", 0.75, 0.75)
    assert (verdict.judge, verdict.answers[0].text, verdict.principle_id) == ("gpt-4", "[[A]]", "kind")


def test_the_same_verdict_is_read_whichever_response_is_called_a(tmp_path: Path) -> None:
    one = read(tmp_path, LINE)
    other = read(tmp_path, {"response_a": "r2", "response_b": "r1", "order": "ba", "verdict": "first"})
    assert one == other
    assert one.verdicts[0].probability_a == 1.0


def test_responses_can_be_named_by_prompt_and_source(tmp_path: Path) -> None:
    responses = [row for row in RESPONSES if row["response_id"] != "r3"]
    path = tmp_path / "v.jsonl"
    by_id = read(tmp_path, LINE)
    for prompt in ({"prompt": " How?\n"}, {"prompt_id": PROMPT}):
        line = {**prompt, "source_a": "gpt", "source_b": "llama", "order": "ab", "verdict": "first"}
        path.write_text(json.dumps(line))
        assert read_recorded_verdicts(path, responses) == by_id


def test_a_null_verdict_is_unparsed_and_never_a_tie(tmp_path: Path) -> None:
    result = read(
        tmp_path, {**LINE, "verdict": None, "raw_text": "Hm."}, {**LINE, "order": "ba", "verdict": "tie"}
    )
    assert [(v.status, v.verdict, v.probability_a) for v in result.verdicts] == [
        ("unparsed", None, None),
        ("ok", "tie", 0.5),
    ]
    assert result.by_status == {"ok": 1, "unparsed": 1}


def test_a_missing_order_is_counted_and_not_made_up(tmp_path: Path) -> None:
    result = read(tmp_path, LINE, {**LINE, "response_b": "r3"}, {**LINE, "response_b": "r3", "order": "ba"})
    assert (len(result.pairs), len(result.verdicts), result.num_missing) == (2, 3, 1)


def test_the_order_of_lines_does_not_count(tmp_path: Path) -> None:
    lines = [{**LINE, "response_b": b, "order": order} for b in ("r2", "r3") for order in ("ab", "ba")]
    assert read(tmp_path, *lines) == read(tmp_path, *lines[::-1])


def test_of_several_judges_the_named_one_is_read(tmp_path: Path) -> None:
    lines = [{**LINE, "judge": "x"}, {**LINE, "judge": "y", "verdict": "second"}]
    result = read(tmp_path, *lines, name="y")
    assert [verdict.verdict for verdict in result.verdicts] == ["second"]
    assert result.num_other_judges == 1
    with pytest.raises(InputError, match=r"line 2.*several judges: 'x' and 'y'"):
        read(tmp_path, *lines)
    assert read(tmp_path, LINE, name="z").verdicts[0].judge == "z"
    assert read(tmp_path, LINE).verdicts[0].judge == "recorded"


@pytest.mark.parametrize(
    ("lines", "number", "field", "message"),
    [
        ([LINE, "{"], 2, None, "not valid JSON"),
        ([{**LINE, "response_a": "r9"}], 1, "response_a", "no response 'r9'"),
        ([{**LINE, "response_b": "r9"}], 1, "response_b", "no response 'r9'"),
        ([{**LINE, "response_b": "r1"}], 1, "response_b", "compared with itself"),
        ([{**LINE, "response_b": "s1"}], 1, "response_b", "different prompts"),
        ([LINE, "", LINE], 3, None, "line 1 answers the same question"),
        (
            [LINE, {"response_a": "r2", "response_b": "r1", "order": "ba", "verdict": "tie"}],
            2,
            None,
            "line 1 answers the same question",
        ),
        ([{**LINE, "order": "AB"}], 1, "order", "'ab' or 'ba'"),
        ([{**LINE, "verdict": "A"}], 1, "verdict", "got 'A'"),
        ([{"response_a": "r1", "response_b": "r2", "order": "ab"}], 1, "verdict", "missing"),
        ([{**LINE, "p_first": 1.5}], 1, "p_first", "less than or equal to 1"),
        ([{**LINE, "p_first": 0.2}], 1, None, "p_first 0.2 contradicts the verdict 'first'"),
        ([{**LINE, "verdict": None, "p_first": 0.2}], 1, None, "the verdict is null"),
        ([{**LINE, "principle_id": "rude"}], 1, "principle_id", "no principle 'rude'"),
        ([{**LINE, "winner": "r1"}], 1, "winner", "unknown field"),
        ([{"order": "ab", "verdict": "tie"}], 1, None, "does not name two responses"),
        ([{**LINE, "response_b": None, "source_b": "gpt"}], 1, None, "does not name two responses"),
        (
            [{"prompt": "How?", "source_a": "gpt", "source_b": "llama", "order": "ab", "verdict": "tie"}],
            1,
            "source_b",
            "2 responses by 'llama'",
        ),
        (
            [{"prompt": "Who?", "source_a": "gpt", "source_b": "llama", "order": "ab", "verdict": "tie"}],
            1,
            "source_a",
            "no response by 'gpt'",
        ),
        (
            [{**LINE, "pair_id": "x"}, {**LINE, "response_b": "r3", "pair_id": "x"}],
            2,
            "pair_id",
            "other responses on line 1",
        ),
        ([], None, None, "no verdicts"),
    ],
)
def test_a_faulty_line_is_named_with_its_field_and_remedy(
    tmp_path: Path, lines: list[Any], number: int | None, field: str | None, message: str
) -> None:
    with pytest.raises(InputError, match="remedy") as caught:
        read(tmp_path, *lines, principle_ids=["kind"])
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.field) == (number, field)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_recorded_verdicts(tmp_path / "none.jsonl", RESPONSES)
