"""The journal of sampled responses: each batch is on disk as soon as it is there, so that a killed run loses one batch.

A file of one asset's own, a row a line. Its lock makes two runs that would sample the same wait for one another. Rows
that stand in a version are dropped from it when it is next opened.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from rlaif_dagster.errors import StorageError
from rlaif_dagster.removal import refuse_links
from rlaif_dagster.tables import Row

_FILE: Final = "responses.jsonl"

Keep = Callable[[Sequence[Row]], None]
"""Makes rows durable."""


def look_into_responses(folder: Path) -> dict[str, Row]:
    """The rows that killed runs left behind, by `response_id`; a line that was torn by a kill is passed over.

    Raises:
        StorageError: If they cannot be read.
    """
    file = folder / _FILE
    try:
        lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    except (OSError, ValueError) as error:
        raise _storage_error(folder, error) from error
    return {row["response_id"]: row for row in rows}


@contextmanager
def open_responses(
    folder: Path, read_known: Callable[[], Mapping[str, Row]]
) -> Iterator[tuple[Mapping[str, Row], Keep]]:
    """Opens the journal, alone; waits while another process has it.

    Args:
        folder: Its folder.
        read_known: Reads the rows that stand in versions.

    Yields:
        All rows that are known, by `response_id`, and what makes further rows durable: they are on disk, and known,
        when it returns.

    Raises:
        StorageError: If it cannot be read or written, or is reached through a link.
    """
    refuse_links(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.responses.lock")):
            known = dict(read_known())
            left = [row for name, row in look_into_responses(folder).items() if name not in known]
            rewritten = folder / f"{_FILE}.new"
            with rewritten.open("wb") as file:

                def keep(rows: Sequence[Row]) -> None:
                    file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
                    file.flush()
                    os.fsync(file.fileno())
                    known.update((row["response_id"], row) for row in rows)

                keep(left)
                rewritten.replace(folder / _FILE)
                yield known, keep
    except OSError as error:
        raise _storage_error(folder, error) from error


def _storage_error(folder: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{folder}: the responses sampled so far cannot be kept ({error}).\n"
        f"  remedy: free disk space or correct the permissions, then run again; if {_FILE} there is damaged, remove it "
        "(its responses are then sampled again)"
    )
