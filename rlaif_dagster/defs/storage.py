"""Checks where Dagster keeps runs and events: in files in its folder, or in the storage that `dagster.yaml` names."""

from pathlib import Path
from typing import Final

import yaml
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.git import is_tracked

SETTINGS_FILE: Final = "dagster.yaml"
INSTANCE_SETTINGS: Final = """\
# Dagster's settings for this project; see docs/operating.md
telemetry:
  enabled: false
nux:
  enabled: false
"""
"""Dagster's settings in a new project."""
REMEDY: Final = (
    "check that the storage's server runs and that dagster.yaml has its name, user and password; PostgreSQL needs "
    "the extra `postgres` and `scheme: postgresql+psycopg2` (docs/operating.md, Dagster's storage in PostgreSQL)"
)
_STORAGES: Final = ("storage", "run_storage", "event_log_storage")


def refuse_foreign_settings(home: Path) -> None:
    """Refuses settings that came with a clone: they name servers, folders, classes, and variables to send as passwords.

    Raises:
        StorageError: If git tracks the settings in Dagster's folder, and they are not those of a new project.
    """
    path = home / SETTINGS_FILE
    if (
        not path.exists()
        or path.read_bytes() == INSTANCE_SETTINGS.encode()
        or not is_tracked(home, path.name)
    ):
        return
    raise StorageError(
        f"{path}: git tracks this file, so every clone brings it, and it can name servers, programs and passwords\n"
        f"  remedy: read it; if you trust it, make it your own: `git rm --cached {path}`"
    )


def is_elsewhere(home: Path) -> bool:
    """Whether the settings in Dagster's folder name another storage, such as a database server."""
    try:
        settings = yaml.safe_load((home / SETTINGS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (yaml.YAMLError, UnicodeDecodeError):
        return True  # Dagster cannot read them either, so no database is at fault
    return isinstance(settings, dict) and any(name in settings for name in _STORAGES)


def is_of_database(error: BaseException) -> bool:
    """Whether an error comes from a database or its driver; drivers wrap errors in their own classes."""
    return isinstance(error, SQLAlchemyError | CommandError) or (
        error.__cause__ is not None and is_of_database(error.__cause__)
    )


def word_error(error: BaseException) -> str:
    """Describes an error on one line, by the first error of its chain, which caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
