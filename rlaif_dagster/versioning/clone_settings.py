"""Decides which of DVC's settings may come with a clone, and which only this user may set.

A clone brings `.dvc/config`, and can bring `.dvc/config.local` too. Some options of a remote name programs, keys or
files of this machine: for example, an AWS profile can start any program (`credential_process`). So only a remote's
address is read from files that git tracks. Everything else comes from this user's own `.dvc/config.local`, or DVC's
global settings.

Known trade-off (accepted): a key that this user sets for a named remote goes to the address that the project's files
give it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.git import is_tracked

if TYPE_CHECKING:
    from dvc.config import Config

_SHARED: Final = ".dvc/config"
_LOCAL: Final = ".dvc/config.local"
_HOST: Final = r"(?:\w[\w.+-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::\d+)?"
"""A host in an address, with user and port; nothing that a shell or an option parser would interpret."""

_ACCEPTED: Final[Mapping[str, re.Pattern[str]]] = {
    "url": re.compile(rf"(?:s3|gs|azure|ssh)://{_HOST}(?:/.*)?|(?![A-Za-z][\w+.-]+:).+", re.ASCII),
    "endpointurl": re.compile(rf"https?://{_HOST}(?:/.*)?", re.ASCII),
    "region": re.compile(r"[A-Za-z0-9-]+"),
    "port": re.compile(r"\d+", re.ASCII),
    "user": re.compile(r"\w[\w.@+-]*", re.ASCII),
}
"""The options of a remote that may come with a clone, and their form. A `url` is a folder, a store or an SSH host."""


def check_cache_folder(root: Path, config: "Config") -> None:
    """Refuses a cache outside the project that a cloned file names.

    Raises:
        StorageError: If `cache.dir` comes from a file that git tracks, and leads out of the project.
    """
    for name, section in _read_foreign(root, config, "cache"):
        folder = section.get("dir")
        if folder is not None and not Path(folder).resolve().is_relative_to(root.resolve()):
            raise StorageError(
                f"{root / name}: the cache {folder} is outside the project, but a project's files must not choose "
                "where on this machine versions are stored\n"
                f"  remedy: set it for yourself, `dvc cache dir --local {folder}`, or remove it from {name}"
            )


def check_remote(root: Path, config: "Config") -> None:
    """Refuses to open the default remote with options that only this user may set.

    Raises:
        StorageError: If a file that git tracks sets one, or sets an allowed one in another form.
    """
    foreign = list(_read_foreign(root, config, "remote"))
    for remote in _list_opened(config):
        for name, remotes in foreign:
            for option, value in remotes.get(remote, {}).items():
                if option in _ACCEPTED and _ACCEPTED[option].fullmatch(str(value)):
                    continue
                what = f"{option} = {value}" if option in _ACCEPTED else option
                raise StorageError(
                    f"{root / name}: the remote {remote!r} sets {what}. Files of a project may set a url (a folder, "
                    "s3://, gs://, azure:// or ssh://), endpointurl, region, port and user; other options could run "
                    "programs or use your keys\n"
                    f"  remedy: {_word_remedy(name, remote, option)}"
                )


def _word_remedy(name: str, remote: str, option: str) -> str:
    if name == _LOCAL:
        return f"{name} belongs to each user: read it, and remove it from git (`git rm --cached {name}`)"
    return (
        f"if you trust it, set it for yourself (`dvc remote modify --local {remote} {option} VALUE`); "
        f"or remove it (`dvc remote modify --unset {remote} {option}`)"
    )


def _list_opened(config: "Config") -> Iterator[str]:
    """Yields the default remote, and the remotes that its address refers to (`remote://NAME/...`)."""
    seen: set[str] = set()
    name = str(config["core"].get("remote") or "").lower()
    while name and name not in seen:
        yield name
        seen.add(name)
        address = urlparse(str(config["remote"].get(name, {}).get("url", "")))
        name = address.netloc.lower() if address.scheme == "remote" else ""


def _read_foreign(root: Path, config: "Config", section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields each cloned file with what it sets in a section, unless this user's own file replaces it."""
    shared, local = (config.load_one(level)[section] for level in ("repo", "local"))
    if local and is_tracked(root, _LOCAL):
        yield _LOCAL, local
        local = {}
    yield _SHARED, _leave_out(shared, local)


def _leave_out(settings: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Removes from nested settings what others replace."""
    return {
        name: _leave_out(value, replaced.get(name, {})) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if isinstance(value, Mapping) or name not in replaced
    }
