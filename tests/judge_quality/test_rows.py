"""The verdicts file: what is read, and what is refused with place and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.judge_quality.rows import read_verdict_file
from tests.conftest import call_rlaif
from tests.judge_quality.real_data import write_rows

ROW: dict[str, Any] = {"pair_id": "p", "judge": "j", "order": "ab", "verdict": "first"}


def test_facts_of_a_pair_are_shared_by_its_rows(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "v.jsonl",
        [{**ROW, "ground_truth": "a", "len_a": 3}, {**ROW, "order": "ba", "len_b": 5.5, "source_a": "x"}],
    )
    one, other = read_verdict_file(path).rows
    assert one.pair is other.pair
    assert (one.pair.ground_truth, one.pair.len_a, one.pair.len_b, one.pair.source_a) == ("a", 3, 5.5, "x")
    assert (one.choice, other.choice) == ("a", "b")
    assert one.pair.longer == "b"


def test_numbers_may_name_pairs_and_unknown_fields_are_told(tmp_path: Path) -> None:
    file = read_verdict_file(
        write_rows(tmp_path / "v.jsonl", [{**ROW, "pair_id": 7, "subset": "x", "lenA": 3}])
    )
    assert file.rows[0].pair.pair_id == "7"
    assert file.unused_fields == ("lenA", "subset")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{**ROW, "verdict": "A"}], ["line 1", "'verdict'", "first"]),
        ([ROW, {key: ROW[key] for key in ROW if key != "verdict"}], ["line 2", "'verdict'", "missing"]),
        ([{**ROW, "order": "both"}], ["line 1", "'order'", "both"]),
        ([{**ROW, "ground_truth": "first"}], ["line 1", "'ground_truth'", "first"]),
        ([{**ROW, "p_first": 1.5}], ["line 1", "'p_first'", "1.5"]),
        ([{**ROW, "len_a": -1}], ["line 1", "'len_a'", "-1"]),
        ([{**ROW, "p_first": float("nan")}], ["line 1", "'p_first'", "nan"]),
        (
            [{**ROW, "status": "refused"}],
            ["line 1", "status 'refused'", "remedy: a verdict has the status ok"],
        ),
        (
            [ROW, {**ROW, "verdict": "tie"}],
            ["line 2", "line 1 has a verdict", "remedy: keep one", "`repeat`"],
        ),
        (
            [{**ROW, "ground_truth": "a"}, {**ROW, "order": "ba", "ground_truth": "b"}],
            ["line 2", "'ground_truth'", "'b' here and 'a' on line 1", "not about the shown order"],
        ),
        ([], ["the file has no verdicts", "docs/judge-audit.md"]),
    ],
)
def test_a_wrong_line_is_refused(tmp_path: Path, rows: list[dict[str, Any]], words: list[str]) -> None:
    path = write_rows(tmp_path / "v.jsonl", rows)
    with pytest.raises(InputError) as caught:
        read_verdict_file(path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_the_same_question_may_be_asked_again_with_a_repeat(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "repeat": 1}, {**ROW, "judge": "k"}, {**ROW, "order": "ba"}]
    assert len(read_verdict_file(write_rows(tmp_path / "v.jsonl", rows)).rows) == 4


def test_the_command_shows_tables_and_ends_in_one_line_of_json(tmp_path: Path) -> None:
    rows = [
        {
            **ROW,
            "judge": judge,
            "pair_id": str(number),
            "order": order,
            "ground_truth": "a",
            "len_a": 2,
            "len_b": 1,
            "note": 1,
        }
        for judge in ("j[red]", "k")
        for number in range(3)
        for order in ("ab", "ba")
    ]
    write_rows(tmp_path / "v.jsonl", rows)
    plain = call_rlaif("judge-audit", "v.jsonl", project=tmp_path)
    for words in ("Judge j[red]", "Judges side by side", "Judges two by two", "position bias", "note"):
        assert words in plain.stdout
    assert not plain.stderr
    told = call_rlaif("judge-audit", "v.jsonl", "--json", project=tmp_path)
    result = json.loads(told.stdout.splitlines()[-1])
    assert set(result["judges"]) == {"j[red]", "k"}
    assert result["judges"]["k"]["first_first"] == {
        "value": 3,
        "n": 3,
        "low": pytest.approx(1.3146, abs=1e-3),
        "high": 3,
    }
    assert result["judges"]["k"]["ece"] == {"value": None, "n": 0, "low": None, "high": None}
    assert result["unused_fields"] == ["note"]
    assert result["doubts"] == []
    assert result["definitions"].keys() >= result["judges"]["k"].keys()


def test_a_missing_file_is_a_message_and_exit_code_2(tmp_path: Path) -> None:
    done = call_rlaif("judge-audit", "none.jsonl", project=tmp_path)
    assert done.returncode == 2
    assert "none.jsonl: the file does not exist" in done.stderr
    assert not done.stdout
