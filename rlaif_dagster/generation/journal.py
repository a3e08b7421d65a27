"""The journal of sampled responses. It stores each batch at once, so that a killed run loses at most one batch.

It is a file of one asset, one row per line. Its lock makes two runs that would sample the same responses wait for each
other. Rows that are in a version are dropped when the journal is opened next.
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
"""A function that stores rows durably."""


def look_into_responses(folder: Path) -> dict[str, Row]:
    """Reads the rows that killed runs left, by `response_id`; skips an incomplete line.

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
    """Opens the journal exclusively; waits while another process has it open.

    Args:
        folder: Its folder.
        read_known: Reads the rows that are in versions.

    Yields:
        All known rows, by `response_id`, and a function that stores further rows: they are on disk, and known, when it
        returns.

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
        f"{folder}: the responses sampled so far cannot be stored ({error}).\n"
        f"  remedy: free disk space or correct the permissions, then run again; if {_FILE} there is damaged, remove it "
        "(its responses are then sampled again)"
    )
