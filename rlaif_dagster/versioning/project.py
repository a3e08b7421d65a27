"""Makes and reads a DVC project on disk: its files and its settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlaif_dagster.errors import StorageError
from rlaif_dagster.removal import WORK_FOLDER, refuse_links
from rlaif_dagster.versioning.git import is_in_git
from rlaif_dagster.versioning.scratch import raising_storage_errors, scratch_folder

_CONFIG = "[core]\n    analytics = false\n    autostage = false\n"
_CONFIG_NO_GIT = "    no_scm = True\n"
_DVC_GITIGNORE = "/config.local\n/tmp\n/cache\n/site\n"
_DVCIGNORE = (
    "# Add patterns of files dvc should ignore, which could improve\n"
    "# the performance. Learn more at\n"
    "# https://dvc.org/doc/user-guide/dvcignore\n"
)
_GIT_IGNORED = ("/data", "/.rlaif/")


def init_project(root: Path) -> None:
    """Makes a folder a DVC project, as `dvc init` does but without touching git's index.

    Existing files stay unchanged; only missing lines are added to `.gitignore`.

    Raises:
        StorageError: If the files cannot be written.
    """
    with_git = is_in_git(root)
    with raising_storage_errors(root / ".dvc"):
        (root / ".dvc").mkdir(parents=True, exist_ok=True)
        _write_new(root / ".dvc" / "config", _CONFIG if with_git else _CONFIG + _CONFIG_NO_GIT)
        _write_new(root / ".dvc" / ".gitignore", _DVC_GITIGNORE)
        _write_new(root / ".dvcignore", _DVCIGNORE)
        if with_git:
            _extend_gitignore(root / ".gitignore")


def read_config(root: Path) -> Mapping[str, Any]:
    """Reads DVC's merged settings (system, user, project, local), with absolute paths.

    Raises:
        StorageError: If this is not a DVC project, its settings are wrong, or its own files name a cache elsewhere.
    """
    from dvc.config import Config, ConfigError

    from rlaif_dagster.versioning.clone_settings import check_cache_folder

    if not (root / ".dvc" / "config").is_file():
        raise StorageError(f"{root}: not a project: there is no .dvc/config\n  remedy: `rlaif init {root}`")
    try:
        config: Mapping[str, Any] = Config(str(root / ".dvc"))
        check_cache_folder(root, config)
    except ConfigError as error:
        raise StorageError(
            f"{root / '.dvc' / 'config'}: {error}\n  remedy: correct it (or .dvc/config.local beside it)"
        ) from error
    return config


def keep_site_folder_inside(root: Path, config: Mapping[str, Any]) -> None:
    """Sets `core.site_cache_dir`, by default a folder shared by the whole machine, to a folder in the project.

    DVC resolves a relative value from the current folder, so it must be absolute, and is written to
    `.dvc/config.local`, which git does not track. A value that a person set stays; a project that was moved
    gets the new path.
    """
    from configobj import ConfigObj  # type: ignore[import-untyped] # ships no types

    site_path = root / ".dvc" / "site"
    present = config["core"].get("site_cache_dir")
    if present is not None and (Path(present) == site_path or Path(present).parts[-2:] != (".dvc", "site")):
        return
    local_path = root / ".dvc" / "config.local"
    with raising_storage_errors(local_path), scratch_folder(root / WORK_FOLDER / "scratch") as scratch:
        local = ConfigObj(str(local_path), encoding="utf-8", interpolation=False)
        local.setdefault("core", {})["site_cache_dir"] = str(site_path)
        local.filename = str(scratch / "config.local")
        local.write()
        (scratch / "config.local").replace(local_path)


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")


def _extend_gitignore(path: Path) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    present = {line.strip().strip("/") for line in text.splitlines()}
    missing = [line for line in _GIT_IGNORED if line.strip("/") not in present]
    if missing:
        separator = "" if not text or text.endswith("\n") else "\n"
        path.write_text(text + separator + "\n".join(missing) + "\n", encoding="utf-8")


def share_cache(root: Path, cache_folder: Path) -> None:
    """Makes a project on this machine use another project's cache, through its local settings.

    Raises:
        StorageError: If they cannot be written, or are a link.
    """
    with raising_storage_errors(root / ".dvc"):
        refuse_links(root / ".dvc" / "config.local", below=root)
        (root / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache_folder.absolute()}\n")
