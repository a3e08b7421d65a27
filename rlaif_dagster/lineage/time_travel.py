"""Copies past versions, and whole past projects, into new folders."""

from pathlib import Path

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import show_newest
from rlaif_dagster.lineage.versions import find_version
from rlaif_dagster.removal import refuse_links
from rlaif_dagster.versioning.git import clone_at
from rlaif_dagster.versioning.links import refuse_foreign_links
from rlaif_dagster.versioning.project import share_cache


def checkout_version(project: Project, target: str, folder: Path) -> MaterialisationRecord:
    """Copies a version into a new folder and verifies it.

    Args:
        project: The project.
        target: `ASSET`, `ASSET@DIGEST` or `DIGEST`.
        folder: The folder to fill; it must not exist, or be empty.

    Raises:
        InputError: If the target names no version, or several.
        CorruptVersionError: If the stored bytes are not those recorded; no folder is made.
        StorageError: If the folder exists, or the version is not available.
    """
    record = find_version(project, target)
    project.store.checkout(record.output.md5, Digest.parse(record.output.digest), folder)
    return record


def checkout_project(project: Project, revision: str, folder: Path) -> Project:
    """Makes a copy of the project as it was at a git revision: inputs, ledger, `data.dvc` and `data/`.

    The copy is a clone that uses this project's cache, so nothing is stored twice; it is a full project.

    Args:
        project: The project.
        revision: A commit, branch or tag.
        folder: The folder to fill; it must not exist, or be empty.

    Raises:
        InputError: If there is no such revision, or its ledger was not committed with it.
        CorruptVersionError: If stored bytes are not those recorded.
        StorageError: If the folder exists, a version is not available, or that revision has a forbidden link.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"{folder}: already exists\n  remedy: name a new or an empty folder")
    root = clone_at(project.root, revision, folder)
    refuse_links(root, below=folder)
    refuse_foreign_links(root)
    share_cache(root, project.store.cache.folder)
    past = Project.open(root, uses_remote=project.uses_remote)
    heads = past.ledger.find_heads()
    if not heads:
        raise InputError(
            f"at {revision!r} no lineage record was committed, so the versions in data/ are not known",
            file=folder,
            remedy="commit lineage/ and data.dvc after each run; a version named by digest is still available: "
            "`rlaif checkout ASSET@DIGEST DEST`",
        )
    for asset in heads:
        show_newest(past, asset)
    return past
