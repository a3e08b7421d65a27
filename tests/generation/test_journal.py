"""What a killed run sampled is not sampled again, and what stands in a version is not kept twice."""

from pathlib import Path

import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.generation.journal import keep_responses, look_into_responses
from rlaif_dagster.judging.journal import LANDED

ROWS = [{"response_id": f"r{i}", "text": "a\u2028b\nc"} for i in range(3)]


def test_rows_given_are_there_although_the_attempt_never_ended(tmp_path: Path) -> None:
    with keep_responses(tmp_path / "j", "one") as keep:
        keep(ROWS[:2])
        assert list(look_into_responses(tmp_path / "j")) == ROWS[:2]
        with keep_responses(tmp_path / "j", "two") as other:
            other(ROWS[2:])
    assert list(look_into_responses(tmp_path / "j")) == ROWS


def test_a_line_that_a_kill_tore_is_passed_over(tmp_path: Path) -> None:
    with keep_responses(tmp_path, "one") as keep:
        keep(ROWS)
    file = tmp_path / "one.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert list(look_into_responses(tmp_path)) == ROWS[:2]


def test_an_attempt_that_landed_is_forgotten_and_others_are_not(tmp_path: Path) -> None:
    for attempt, row in zip("ab", ROWS, strict=False):
        with keep_responses(tmp_path, attempt) as keep:
            keep([row])
    (tmp_path / f"a{LANDED}").touch()
    with keep_responses(tmp_path, "c"):
        pass
    assert list(look_into_responses(tmp_path)) == [ROWS[1]]
    assert not (tmp_path / f"a{LANDED}").exists()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(b"{\n")
    with pytest.raises(StorageError, match="remove it"):
        list(look_into_responses(tmp_path))
