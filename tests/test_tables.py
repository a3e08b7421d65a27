"""Tables: as many rows in memory as are asked for, and the same file whatever gives the rows."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from rlaif_dagster.errors import StorageError
from rlaif_dagster.tables import BATCH_ROWS, LazyRows, Row, StoredRows, stream_table, write_table
from tests.live_rows import LiveRows

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("side", pa.string(), nullable=False)])


def make_rows(num_rows: int) -> list[Row]:
    return [{"n": n, "side": "ab"[n % 3 == 0]} for n in range(num_rows)]


def test_rows_of_a_file_are_those_that_were_written_each_time(tmp_path: Path) -> None:
    rows = make_rows(2 * BATCH_ROWS + 5)
    assert write_table(tmp_path / "t.parquet", rows, SCHEMA) == len(rows)
    stored = StoredRows(path=tmp_path / "t.parquet", columns=("n", "side"), where={"side": "b"})
    expected = [row for row in rows if row["side"] == "b"]
    assert list(stored) == list(stored) == expected
    assert len(stored) == len(expected)
    assert StoredRows.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    every = StoredRows(path=tmp_path / "t.parquet", columns=("n",))
    assert [row["n"] for row in every] == list(range(len(every))) == list(range(len(rows)))


@pytest.mark.slow
def test_a_row_group_has_65536_rows_and_writing_holds_no_more(tmp_path: Path) -> None:
    """The size of row groups is part of a table's bytes."""
    counter = LiveRows()
    write_table(tmp_path / "t.parquet", map(counter.make, make_rows(2 * 65_536 + 1)), SCHEMA)
    assert counter.most == 65_536
    metadata = parquet.read_metadata(tmp_path / "t.parquet")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [65_536, 65_536, 1]


def test_a_row_group_is_written_in_one_piece(tmp_path: Path) -> None:
    """Where the dictionary of a column overflows, the bytes of the file tell the pieces that it was given in."""
    rows = [{"n": n, "side": f"{n * 7919:032}"} for n in range(40_000)]
    write_table(tmp_path / "ours.parquet", iter(rows), SCHEMA)
    parquet.write_table(
        pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / "whole.parquet", compression="zstd"
    )
    assert (tmp_path / "ours.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_lazy_rows_are_made_when_they_are_asked_for_and_kept_by_nobody() -> None:
    counter = LiveRows()
    rows = LazyRows(range(100), lambda n: counter.make({"n": n}))
    assert counter.most == 0
    assert (len(rows), rows[-1]["n"], [row["n"] for row in rows[3:6]]) == (100, 99, [3, 4, 5])
    assert [row["n"] for row in rows] == list(range(100))
    assert 0 < counter.most <= 4


def test_a_table_of_another_version_is_named_with_the_column_that_it_lacks(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [{"a": "x"}], pa.schema([pa.field("a", pa.string())]))
    with pytest.raises(StorageError, match="no column 'b'"):
        list(stream_table(tmp_path / "t.parquet", ["a", "b"]))
    assert list(stream_table(tmp_path / "t.parquet", ["a"])) == [{"a": "x"}]
