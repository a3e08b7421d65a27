"""Remembers which records Dagster's log has, so that a run with nothing to do need not open the log.

A note beside the locks names the records that the last run told Dagster, and the state of the log's file at that time.
If anybody has written to the log since (the UI, the daemon, a person who wiped it), the note no longer counts. It never
counts for a log that is not a file in this project, such as a database server.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.versioning.scratch import raising_storage_errors, write_whole

_FILES = ("index.db", "index.db-wal")
"""The file of Dagster's log, below `history/runs` of its folder."""


def note_told(project: Project, home: Path, records: Iterable[MaterialisationRecord]) -> None:
    """Notes that a run has just told Dagster about some records.

    Args:
        project: The project.
        home: Dagster's folder.
        records: The newest records of the assets that the run brought up to date.

    Raises:
        StorageError: If the note cannot be written.
    """
    log = _describe_log(home)
    if log is None:
        return
    note = {"log": log, "records": {record.asset: record.record_id for record in records}}
    path = _note_path(project)
    with raising_storage_errors(path):
        write_whole(path, canonical_json(note), scratch=project.scratch / "work")


def was_told(project: Project, home: Path, records: Iterable[MaterialisationRecord]) -> bool:
    """Says whether Dagster's log certainly has these records; False if that is not known."""
    path = _note_path(project)
    try:
        note: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    told = note.get("records", {})
    return note.get("log") == _describe_log(home) and all(
        told.get(record.asset) == record.record_id for record in records
    )


def find_dagster_home(project: Project) -> Path:
    """Finds Dagster's folder: the one that `DAGSTER_HOME` names, or else the project's own."""
    return Path(os.environ.get("DAGSTER_HOME") or project.dagster_home).absolute()


def _describe_log(home: Path) -> dict[str, Any] | None:
    """Describes the state of the log's files; None if Dagster keeps its log elsewhere."""
    folder = home / "history" / "runs"
    if not (folder / _FILES[0]).is_file():
        return None
    states = {}
    for name in _FILES:
        if (folder / name).exists():
            status = (folder / name).stat()
            states[name] = [status.st_ino, status.st_size, status.st_mtime_ns]
    return {"folder": str(folder), "files": states}


def _note_path(project: Project) -> Path:
    return project.scratch / "told.json"
