"""What a killed run sampled is not sampled again, and what stands in a version is not kept twice."""

from pathlib import Path

import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.generation.journal import look_into_responses, open_responses
from rlaif_dagster.tables import Row

ROWS: list[Row] = [{"response_id": f"r{i}", "text": "a\u2028b\nc"} for i in range(3)]
BY_ID = {str(row["response_id"]): row for row in ROWS}


def test_rows_given_are_on_disk_before_the_run_ends_and_known_to_the_next(tmp_path: Path) -> None:
    with open_responses(tmp_path / "j", dict) as (known, keep):
        assert not known
        keep(ROWS[:1])
        keep(ROWS[1:])
        assert look_into_responses(tmp_path / "j") == known == BY_ID
    with open_responses(tmp_path / "j", dict) as (known, _):
        assert known == BY_ID


def test_a_line_that_a_kill_tore_is_passed_over_and_what_follows_is_whole(tmp_path: Path) -> None:
    with open_responses(tmp_path, dict) as (_, keep):
        keep(ROWS[:2])
    file = tmp_path / "responses.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    with open_responses(tmp_path, dict) as (known, keep):
        assert known == {"r0": ROWS[0]}
        keep(ROWS[2:])
    assert look_into_responses(tmp_path) == {"r0": ROWS[0], "r2": ROWS[2]}


def test_rows_that_stand_in_a_version_are_dropped_and_others_are_not(tmp_path: Path) -> None:
    with open_responses(tmp_path, dict) as (_, keep):
        keep(ROWS)
    with open_responses(tmp_path, lambda: {"r1": ROWS[1]}) as (known, _):
        assert known == BY_ID
    assert look_into_responses(tmp_path) == {"r0": ROWS[0], "r2": ROWS[2]}


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "responses.jsonl").write_bytes(b"{\n")
    with pytest.raises(StorageError, match="remove it"):
        look_into_responses(tmp_path)
