"""Time travel: past versions, and whole past projects, in new folders."""

from pathlib import Path

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import show_newest
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.versions import find_version
from rlaif_dagster.removal import refuse_links
from rlaif_dagster.versioning.git import clone_at
from rlaif_dagster.versioning.links import refuse_foreign_links
from rlaif_dagster.versioning.project import share_cache


def checkout_version(project: Project, target: str, folder: Path) -> MaterialisationRecord:
    """Copies a version, verified, into a new folder.

    Args:
        project: The project.
        target: `ASSET`, `ASSET@DIGEST` or `DIGEST`.
        folder: Where to; it must not exist, or be empty.

    Raises:
        InputError: If the target names no version, or several.
        CorruptVersionError: If the stored bytes are not those recorded; no folder is made.
        StorageError: If the folder exists, or the version cannot be had.
    """
    record = find_version(project, target)
    project.store.checkout(record.output.md5, Digest.parse(record.output.digest), folder)
    return record


def checkout_project(project: Project, revision: str, folder: Path) -> Project:
    """Makes a project as this one was at a git revision: inputs, ledger, `data.dvc` and `data/`.

    It is a clone that uses this project's cache, so nothing is copied twice; it is a project like any other.

    Args:
        project: The project.
        revision: A commit, branch or tag.
        folder: Where to; it must not exist, or be empty.

    Raises:
        InputError: If there is no such revision, or its ledger was not committed with it.
        CorruptVersionError: If stored bytes are not those recorded.
        StorageError: If the folder exists, a version cannot be had, or that revision has a link where none may be.
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
            f"at {revision!r} no lineage record was committed, so it is not known what data/ held",
            file=folder,
            remedy="commit lineage/ and data.dvc after each run; versions by digest can still be had: "
            "`rlaif checkout ASSET@DIGEST DEST`",
        )
    for asset in heads:
        show_newest(past, asset)
    return past
