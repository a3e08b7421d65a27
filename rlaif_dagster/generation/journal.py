"""The journal of sampled responses: each batch is on disk as soon as it is there, so that a killed run loses one batch.

Each attempt writes a file of its own beside those of others, a row a line. When its version has landed, the attempt is
marked (`ATTEMPT.landed`), and whoever opens the journal next removes its file: the rows stand in the version now.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import StorageError
from rlaif_dagster.judging.journal import LANDED
from rlaif_dagster.tables import Row

_SUFFIX: Final = ".jsonl"

Keep = Callable[[Sequence[Row]], None]
"""Makes rows durable."""


def look_into_responses(folder: Path) -> Iterator[Row]:
    """Yields the rows that attempts left behind; a line that was torn by a kill is passed over.

    Raises:
        StorageError: If they cannot be read.
    """
    try:
        for file in sorted(folder.glob(f"*{_SUFFIX}")):
            for line in file.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield json.loads(line)
    except (OSError, ValueError) as error:
        raise _storage_error(folder, error) from error


@contextmanager
def keep_responses(folder: Path, attempt: str) -> Iterator[Keep]:
    """Opens an attempt's own file; what it is given is on disk when the call returns.

    Args:
        folder: The journal's folder.
        attempt: Names the version that the rows are for.

    Raises:
        StorageError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for marker in folder.glob(f"*{LANDED}"):
            marker.with_suffix(_SUFFIX).unlink(missing_ok=True)
            marker.unlink(missing_ok=True)
        with (folder / f"{attempt}{_SUFFIX}").open("ab") as file:

            def keep(rows: Sequence[Row]) -> None:
                file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
                file.flush()
                os.fsync(file.fileno())

            yield keep
    except OSError as error:
        raise _storage_error(folder, error) from error


def _storage_error(folder: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{folder}: the responses sampled so far cannot be kept ({error}).\n"
        "  remedy: free disk space or mend the permissions, then run again; if a file there is damaged, remove it "
        "(its responses are then sampled again)"
    )
