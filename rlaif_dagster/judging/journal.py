"""The journal of one asset's calls. It stores every answer durably as soon as it arrives.

It is a small SQLite file beside the work in progress. A killed run leaves it, and the next run reuses its answers. When
a version has been stored, its attempt is marked, and the next process that opens the journal drops the answers that
this attempt used: the version has them now. Answers that are in no version yet stay. The journal's file lock makes two
runs that would ask the same calls wait for each other.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Final

from filelock import FileLock

from rlaif_dagster.errors import JudgeError, StorageError
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.removal import refuse_links, remove_file

_COLUMNS: Final = tuple(field.name for field in fields(Reply))
_INSERT: Final = f"INSERT OR REPLACE INTO answers VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608
_read_values: Final = attrgetter(*_COLUMNS)
LANDED: Final = ".landed"
"""Suffix of the empty file, named after an attempt, that says that its version has been stored."""


class Journal:
    """Answers by call, and which calls are still open."""

    def __init__(self, connection: sqlite3.Connection, attempt: str) -> None:
        """Makes a journal; see `open_journal`."""
        self._db = connection
        self._attempt = attempt
        self._taken: set[str] = set()  # those being asked, and a few more

    def want(self, call_ids: Iterable[str]) -> None:
        """Sets the calls to answer. Earlier wanted calls are forgotten; their answers are kept."""
        self._taken.clear()
        with self._transaction():
            self._db.execute("DELETE FROM wanted")
            self._db.executemany("INSERT OR IGNORE INTO wanted VALUES (?, 1)", ((name,) for name in call_ids))

    def settle(self, answers: Iterable[Reply]) -> None:
        """Stores known answers to calls that are wanted and still open."""
        with self._transaction():
            for answer in answers:
                if self._close(answer.call_id):
                    self._write([answer])

    def find_known(self) -> Iterator[Reply]:
        """Yields the answers to wanted calls that the journal already has."""
        columns = ", ".join(f"answers.{name}" for name in _COLUMNS)
        rows = self._db.execute(f"SELECT {columns} FROM answers JOIN wanted USING (call_id)")  # noqa: S608
        yield from map(_read, rows)

    def count_open(self) -> int:
        """Counts the wanted calls without an answer."""
        (count,) = self._db.execute("SELECT count(*) FROM wanted WHERE is_open").fetchone()
        return int(count) + len(self._taken)

    def take(self, call_ids: Sequence[str]) -> list[bool]:
        """Reserves calls for asking; False for each that is already answered or reserved."""
        with self._transaction():
            are_open = [self._close(call_id) for call_id in call_ids]
        self._taken.update(compress(call_ids, are_open))
        return are_open

    def add(self, answers: Sequence[Reply]) -> None:
        """Stores answers to reserved calls durably, in one step.

        Raises:
            JudgeError: If a call was not reserved; then none of the answers is stored.
        """
        for answer in answers:
            if answer.call_id not in self._taken:
                raise JudgeError(f"received an answer to a call that was not asked: {answer.call_id}")
            self._taken.remove(answer.call_id)
        with self._transaction():
            self._write(answers)

    def find(self, call_id: str) -> Reply | None:
        """Finds the answer to a call."""
        columns = ", ".join(_COLUMNS)
        row = self._db.execute(
            f"SELECT {columns} FROM answers WHERE call_id = ?",  # noqa: S608 (our own column names)
            (call_id,),
        ).fetchone()
        return None if row is None else _read(row)

    def require(self, call_id: str) -> Reply:
        """Returns the answer to a call.

        Raises:
            JudgeError: If it was never answered.
        """
        answer = self.find(call_id)
        if answer is None:
            raise JudgeError(f"the call {call_id} was never answered")
        return answer

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def _close(self, call_id: str) -> bool:
        closed = self._db.execute("UPDATE wanted SET is_open = 0 WHERE call_id = ? AND is_open", (call_id,))
        return closed.rowcount == 1

    def _write(self, answers: Iterable[Reply]) -> None:
        self._db.executemany(_INSERT, ((*_read_values(answer), self._attempt) for answer in answers))


def mark_landed(folder: Path, attempt: str) -> None:
    """Marks the version of an attempt as stored; does nothing if there is no journal."""
    if folder.is_dir():
        (folder / f"{attempt}{LANDED}").touch()


@contextmanager
def open_journal(folder: Path, attempt: str) -> Iterator[Journal]:
    """Opens the journal in a folder exclusively; waits while another process has it open.

    Args:
        folder: The folder.
        attempt: The name of the computation that needs the answers; see `mark_landed`.

    Raises:
        StorageError: If it cannot be written, or is reached through a link.
    """
    refuse_links(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            folder.mkdir(exist_ok=True)
            connection = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA wal_autocheckpoint = 10000")  # each one waits for the disk
                connection.execute("PRAGMA temp_store = FILE")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers (call_id TEXT PRIMARY KEY, status TEXT, text TEXT, "
                    "score REAL, reason TEXT, input_tokens INTEGER, output_tokens INTEGER, cut INTEGER, attempt TEXT) "
                    "WITHOUT ROWID"
                )
                for marker in folder.glob(f"*{LANDED}"):
                    connection.execute("DELETE FROM answers WHERE attempt = ?", (marker.stem,))
                    remove_file(marker)
                connection.execute("CREATE TEMP TABLE wanted (call_id TEXT PRIMARY KEY, is_open INTEGER)")
                yield Journal(connection, attempt)
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"{folder}: the judge's answers cannot be stored ({error}).\n"
            "  remedy: free disk space or correct the permissions, then run again; if the file is damaged, remove it "
            "(answers that are in no version yet are then asked again)"
        ) from error


def look_into_journal(folder: Path) -> Iterator[Reply]:
    """Yields the answers in a folder's journal, if there is one; changes nothing and takes no lock.

    Raises:
        StorageError: If it cannot be read.
    """
    file = folder / "journal.sqlite"
    if not file.is_file():
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            columns = ", ".join(_COLUMNS)
            yield from map(_read, connection.execute(f"SELECT {columns} FROM answers"))  # noqa: S608
    except sqlite3.Error as error:
        raise StorageError(
            f"{folder}: the judge's answers cannot be read ({error}).\n"
            "  remedy: if the file is damaged, remove it (answers that are in no version yet are then asked again)"
        ) from error


def _read(row: tuple[object, ...]) -> Reply:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Reply(**{**values, "cut": bool(values["cut"])})  # type: ignore[arg-type]
