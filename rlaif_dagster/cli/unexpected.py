"""Reports an unexpected error: one line for the user, and a log file with the traceback."""

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from rlaif_dagster.errors import RlaifError, StorageError
from rlaif_dagster.removal import WORK_FOLDER, refuse_links, remove_file

DEBUG_VARIABLE: Final = "RLAIF_DEBUG"
"""Environment variable: if set, an unexpected error is raised with its full traceback."""
REPORTED: Final = ("rlaif-dagster", "dagster", "dvc", "torch", "transformers", "trl")
"""The distributions whose versions are in the line; the log lists all."""
LOG_PREFIX: Final = "rlaif-error-"
MAX_LOGS: Final = 20
"""How many logs are kept in a folder; the oldest are removed first."""
MAX_MESSAGE: Final = 200
"""How many characters of the error's own message are in the line."""

_PACKAGE_ROOT: Final = Path(__file__).parent.parent
_CARRIERS: Final = frozenset({"main", "invoke"})
"""Functions of `cli` through which every command is called; they are never the source of an error."""
_OWN_LOG: Final = re.compile(rf"{LOG_PREFIX}[a-z0-9_]{{8}}\.log")


def find_own_error(error: BaseException) -> RlaifError | None:
    """Finds the error of this package inside Dagster's wrapper, if there is one."""
    cause = _unwrap(error)
    return cause if isinstance(cause, RlaifError) else None


def report_unexpected(error: BaseException, project: Path) -> str:
    """Writes the full traceback to a log, and returns one line for the user.

    Args:
        error: The error.
        project: The project's folder; if it is not a project, the log goes to the system's temporary folder.
    """
    cause = _unwrap(error)
    versions = f"{', '.join(_list_versions(REPORTED))}, Python {platform.python_version()}"
    log = _write_log(_describe(error), project)
    report = (
        f"report {versions} and this log: {log}"
        if log
        else f"no log could be written; set {DEBUG_VARIABLE}=1"
    )
    return f"unexpected error: {_name(cause)}{_name_step(error)}, at {_locate(cause)}; {report}"


def _unwrap(error: BaseException) -> BaseException:
    while type(error).__module__.startswith("dagster") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _name(error: BaseException) -> str:
    message = "".join(char if char.isprintable() else " " for char in str(error))
    message = " ".join(message.split())
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _name_step(error: BaseException) -> str:
    """Names the step in which the error was raised.

    Dagster raises a second error that names the step. Either of the two may be the cause of the other.
    """
    found: BaseException | None = error
    seen: list[BaseException] = []
    while found is not None and not any(found is one for one in seen):
        if step := getattr(found, "step_key", None):
            return f" in {step}"
        seen.append(found)
        found = found.__cause__ or found.__context__
    return ""


def _locate(error: BaseException) -> str:
    """Finds the innermost line of this package in the traceback, or of any code if none is."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name not in _CARRIERS]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE_ROOT)]
    if not frames:
        return "an unknown line"
    frame = (own or frames)[-1]
    file = Path(frame.filename)
    return f"{file.relative_to(_PACKAGE_ROOT.parent) if own else file}:{frame.lineno}"


def _describe(error: BaseException) -> str:
    versions = sorted(_list_versions({found.name for found in importlib.metadata.distributions()}))
    return "\n".join(
        [
            f"command: {sys.argv}",
            f"Python {sys.version}",
            f"platform: {platform.platform()}",
            "",
            *traceback.format_exception(error),
            "",
            *versions,
            "",
        ]
    )


def _list_versions(names: tuple[str, ...] | set[str]) -> Iterator[str]:
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


def _write_log(text: str, project: Path) -> Path | None:
    """Writes a log that only this user can read; returns None if neither folder is writable."""
    temporary = Path(tempfile.gettempdir())
    places = [(temporary, temporary)]
    if (project / ".dvc").is_dir():
        root = project.absolute()
        places.insert(0, (root / WORK_FOLDER / "errors", root))
    for folder, trusted in places:
        with suppress(OSError, StorageError):
            refuse_links(folder, below=trusted)
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=LOG_PREFIX, suffix=".log", dir=folder)
            with os.fdopen(descriptor, "w", errors="backslashreplace") as stream:
                stream.write(text)
            _remove_old_logs(folder)
            return Path(name)
    return None


def _remove_old_logs(folder: Path) -> None:
    with suppress(OSError):  # another command removes them too
        logs = [log for log in folder.iterdir() if _OWN_LOG.fullmatch(log.name) and not log.is_symlink()]
        logs.sort(key=lambda log: log.stat().st_mtime_ns)
        for log in logs[:-MAX_LOGS]:
            with suppress(OSError):  # the file of another user
                remove_file(log, below=folder)
