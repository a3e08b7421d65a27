"""Writes and reads parquet tables with a given schema; the same rows give the same bytes."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar, overload

from rlaif_dagster.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""One row of a table; the table's schema gives the types."""


_Value = TypeVar("_Value")


class Rows(Protocol):
    """Rows that can be iterated repeatedly: a list, or a table that is read again each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row]: ...


BATCH_ROWS: Final = 4_096
"""How many rows are read at a time."""
_GROUP_ROWS: Final = 65_536  # how many rows are written at a time; a row group of the file


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Writes rows to a parquet file as they arrive; returns how many there were.

    Raises:
        StorageError: If a row does not fit the schema or the disk is full.
    """
    import pyarrow as pa
    from pyarrow import parquet

    num_rows = 0
    waiting = iter(rows)
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            # A row group in one piece: otherwise the file's bytes would depend on the batches.
            while group := list(itertools.islice(waiting, _GROUP_ROWS)):
                num_rows += len(group)
                table = pa.Table.from_pylist(group, schema=schema)
                del group
                writer.write_table(table)
                del table  # before the next rows arrive
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
    """Says whether a file is a table in which the named columns have the types of a schema."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = parquet.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return all(name in found.names and found.field(name).equals(schema.field(name)) for name in names)


def stream_table(
    path: Path,
    columns: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
    *,
    later: Sequence[str] = (),
) -> Iterator[Row]:
    """Yields the rows of a parquet file at constant memory.

    Args:
        path: The file.
        columns: Which columns; None for all.
        where: The values that rows must have in some of these columns; None for all rows.
        later: The columns that a table of an earlier release may lack; there they are null, which means unknown.

    Raises:
        StorageError: If the file is missing or is not parquet, or lacks another column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            absent = dict.fromkeys(name for name in later if name not in file.schema_arrow.names)
            if columns is not None:
                columns = [name for name in columns if name not in absent]
                _require_columns(path, file.schema_arrow.names, columns)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                for name, value in (where or {}).items():
                    batch = batch.filter(pc.equal(batch.column(name), value))  # noqa: PLW2901
                rows = batch.to_pylist()
                yield from ({**row, **absent} for row in rows) if absent else rows
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: the table cannot be read: {error}") from error


def _require_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuses missing columns, which pyarrow would silently leave out."""
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise StorageError(
            f"{path}: the table has no column {missing[0]!r}; another version of this package made it.\n"
            "  remedy: run the asset of the table again: `rlaif run` computes what this version needs"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """`Rows` of a parquet file, with few of them in memory at a time.

    Attributes:
        path: The file.
        columns: Which columns.
        where: The values that rows must have in some of these columns.
        later: The columns that a table of an earlier release may lack; see `stream_table`.
    """

    path: Path
    columns: tuple[str, ...]
    where: Mapping[str, str] = field(default_factory=dict)
    later: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(1 for _ in stream_table(self.path, tuple(self.where) or self.columns[:1], self.where))

    def __iter__(self) -> Iterator[Row]:
        """Reads the table.

        Raises:
            StorageError: If the file is missing or is not parquet.
        """
        return stream_table(self.path, self.columns, self.where, later=self.later)

    def to_json(self) -> dict[str, Any]:
        """Describes the rows for another process."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote: `StoredRows.from_json(rows.to_json()) == rows`, also through JSON."""
        return cls(
            path=Path(value["path"]),
            columns=tuple(value["columns"]),
            where=value["where"],
            later=tuple(value["later"]),
        )


class LazyRows(Sequence[Row], Generic[_Value]):
    """Rows that are made on access, from values that take less memory than rows."""

    def __init__(self, values: Sequence[_Value], make: Callable[[_Value], Row]) -> None:
        self._values, self._make = values, make

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self._make(value) for value in self._values[place]]
        return self._make(self._values[place])
