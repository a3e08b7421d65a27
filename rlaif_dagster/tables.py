"""Parquet tables: written against a stated schema, byte for byte the same for the same rows."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""One row of a table; the table's schema gives the types."""


_CHUNK_ROWS: Final = 65_536  # rows in memory at a time; a row group of the file
_BATCH_ROWS: Final = 4_096  # rows read at a time


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Writes rows, as they come, to a parquet file and returns how many there were.

    Raises:
        StorageError: If a row does not fit the schema or the disk is full.
    """
    import pyarrow as pa
    from pyarrow import parquet

    num_rows = 0
    waiting = iter(rows)
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            while chunk := list(itertools.islice(waiting, _CHUNK_ROWS)):
                writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
                num_rows += len(chunk)
    except (OSError, pa.ArrowException, UnicodeEncodeError) as error:
        raise StorageError(f"{path}: the table cannot be written: {error}") from error
    return num_rows


def read_table(path: Path) -> list[Row]:
    """Reads a parquet file as rows.

    Raises:
        StorageError: If the file is missing or is not parquet.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Not parquet.read_table: it loads pandas, which takes half a second.
        with parquet.ParquetFile(path) as file:
            rows: list[Row] = file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: the table cannot be read: {error}") from error
    return rows


def has_columns(path: Path, schema: "pa.Schema", names: Sequence[str]) -> bool:
    """Says whether a file is a table in which some columns have the types of a schema."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = parquet.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return all(name in found.names and found.field(name).equals(schema.field(name)) for name in names)


def stream_table(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yields the rows of a parquet file at constant memory.

    Args:
        path: The file.
        columns: Which columns; None for all.

    Raises:
        StorageError: If the file is missing or is not parquet.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: the table cannot be read: {error}") from error
