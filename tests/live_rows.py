"""Counts how many rows are in memory at once."""

from collections.abc import Iterator, Sequence

from rlaif_dagster.tables import Row


class LiveRows:
    """Makes rows that are counted as long as somebody holds them."""

    def __init__(self) -> None:
        self.live = self.most = 0

    def make(self, row: Row) -> Row:
        """The same row, counted."""
        self.live += 1
        self.most = max(self.most, self.live)
        return _Counted(self, row)


class PassedRows:
    """Rows that are made anew in each pass, as those of a file are, and counted."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows, self.counter = rows, LiveRows()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return map(self.counter.make, self.rows)


class _Counted(Row):
    def __init__(self, counter: LiveRows, row: Row) -> None:
        super().__init__(row)
        self._counter = counter

    def __del__(self) -> None:
        self._counter.live -= 1
