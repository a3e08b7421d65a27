"""`rlaif init DIR`: makes a new project folder."""

import shutil
from pathlib import Path

from rich.console import Console

from rlaif_dagster.errors import InputError, StorageError
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.versioning.git import init_git
from rlaif_dagster.versioning.store import init_store


def init_command(folder: Path) -> None:
    """Makes a project: inputs, workspace.yaml, git and DVC.

    Raises:
        InputError: If the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "the folder is not empty", file=folder, remedy="name a folder that does not exist yet"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: the folder cannot be made ({error.strerror}).\n  remedy: name a folder that you can write to"
        ) from error
    for source in sorted(TEMPLATE_ROOT.rglob("*")):
        relative = source.relative_to(TEMPLATE_ROOT)
        if source.is_file() and source.suffix not in {".py", ".pyc"}:
            target = folder / relative.with_name(relative.name.replace("dot.", ".", 1))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    init_git(folder)
    init_store(folder)
    console = Console()
    console.print(f"Made a project in {folder}. Next:", soft_wrap=True)
    console.print("  edit the files in inputs/ (the defaults run as they are, without network or GPU)")
    console.print(f"  rlaif run --project {folder}", soft_wrap=True)
