"""Parquet tables: written against a stated schema, byte for byte the same for the same rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_dagster.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""One row of a table; the table's schema gives the types."""


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Writes rows to a parquet file and returns how many there were.

    Raises:
        StorageError: If a row does not fit the schema or the disk is full.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        parquet.write_table(table, path, compression="zstd")
    except (OSError, pa.ArrowException, UnicodeEncodeError) as error:
        raise StorageError(f"{path}: the table cannot be written: {error}") from error
    return int(table.num_rows)


def read_table(path: Path) -> list[Row]:
    """Reads a parquet file as rows.

    Raises:
        StorageError: If the file is missing or is not parquet.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: the table cannot be read: {error}") from error
    return rows
