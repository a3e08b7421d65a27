"""`rlaif gc`: plans and prunes versions that nothing needs.

The note is written first. Then the objects are removed, each version's files before its tree. So if the work is
interrupted, an audit knows about it and the same command continues. Objects that no record accounts for are left alone,
and so is the remote.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.objects import split_tree
from rlaif_dagster.lineage.collecting.keep import find_kept
from rlaif_dagster.lineage.collecting.notes import FOLDER, PrunedVersion, PruneNote
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.running import find_running, no_run_starts
from rlaif_dagster.removal import remove_file
from rlaif_dagster.versioning.scratch import held_lock, raising_storage_errors, write_whole
from rlaif_dagster.versioning.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """A version that stays, and why."""

    asset: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a collection prunes or would prune.

    Attributes:
        keep: The rules.
        kept: Versions that stay.
        pruned: Versions that are pruned: those not kept of which some bytes are here.
        objects: The objects to remove, files before trees.
        num_bytes: The number of bytes to remove.
    """

    keep: tuple[str, ...]
    kept: tuple[KeptVersion, ...]
    pruned: tuple[PrunedVersion, ...]
    objects: tuple[str, ...]
    num_bytes: int


def plan_collection(project: Project, keep: Sequence[str], *, now: datetime.datetime) -> Collection:
    """Lists what would be pruned; changes nothing.

    Args:
        project: The project.
        keep: Rules, see `find_kept`.
        now: The time, in UTC.

    Raises:
        InputError: If a rule is not valid, or names no version.
        LedgerError: If the ledger is damaged.
        CorruptVersionError: If a tree object is damaged, so that its files are unknown.
        StorageError: If the cache lies outside the project.
    """
    return _plan(project, keep, now=now)[0]


def _plan(
    project: Project, keep: Sequence[str], *, now: datetime.datetime
) -> tuple[Collection, tuple[Tree, ...]]:
    """Plans what to remove; also returns the trees of kept versions that have no tree object of their own."""
    cache = project.store.cache
    if not cache.folder.resolve().is_relative_to(project.root.resolve()):
        raise StorageError(
            f"{cache.folder}: this cache may be shared, and other projects' versions are not known here\n"
            "  remedy: run gc in the project that contains the cache"
        )
    kept = find_kept(project, keep, now=now)
    records = {record.record_id: record for record in project.ledger.records()}
    staying = {record.output.md5: record for name, record in records.items() if name in kept.reasons}
    going = {r.output.md5: r for r in records.values() if r.output.md5 not in staying}
    trees, foreign = _read_trees(project, records.values())
    needed = foreign | {
        md5
        for name in (*staying, *kept.pins)
        if (tree := trees.get(name)) is not None
        for md5 in (name, *(file_md5 for _, file_md5 in tree.files))
    }
    shared = {file.sha256 for record in staying.values() for file in record.output.files}
    pruned: list[PrunedVersion] = []
    files: list[str] = []
    for md5, record in going.items():
        digests = {file.path: file.sha256 for file in record.output.files}
        stored = trees.get(md5, Tree(())).files
        # Bytes of a kept version stay, whether its tree is here or not.
        files += [name for path, name in stored if name not in needed and digests.get(path) not in shared]
        if any(cache.path_of(name).is_file() for name in (md5, *(name for _, name in stored))):
            pruned.append(PrunedVersion(asset=record.asset, digest=record.output.digest, md5=md5))
    going_trees = [md5 for md5 in trees if md5 not in needed]
    objects = [md5 for md5 in dict.fromkeys([*files, *going_trees]) if cache.path_of(md5).is_file()]
    reasons = {records[name].output.md5: reason for name, reason in kept.reasons.items()}
    collection = Collection(
        keep=tuple(keep),
        kept=tuple(
            KeptVersion(asset=record.asset, digest=record.output.digest, reason=reasons[md5])
            for md5, record in staying.items()
        ),
        pruned=tuple(pruned),
        objects=tuple(objects),
        num_bytes=sum(cache.path_of(md5).stat().st_size for md5 in objects),
    )
    return collection, tuple(trees[md5] for md5 in cache.find_missing(staying) if md5 in trees)


def apply_collection(project: Project, keep: Sequence[str], *, now: datetime.datetime) -> Collection:
    """Writes a note, then removes what `plan_collection` lists; returns what was removed.

    Raises:
        InputError: As `plan_collection`.
        LedgerError: As `plan_collection`.
        CorruptVersionError: As `plan_collection`.
        StorageError: As `plan_collection`; if a run is in progress; or if something cannot be written or removed.
    """
    with (
        raising_storage_errors(project.store.cache.folder),
        no_run_starts(project),
        held_lock(project.scratch / "locks" / "ledger.lock"),
    ):
        running = find_running(project)
        if running:
            raise StorageError(
                f"{project.root}: a run is in progress ({', '.join(running)}), and may need what would be pruned\n"
                "  remedy: wait until it has ended, then run gc again"
            )
        collection, homeless = _plan(project, keep, now=now)
        for tree in homeless:  # the state of `data/` that contains it may be removed
            project.store.cache.write_tree(tree)
        if collection.pruned:
            _write_note(project, collection, now=now)
        for md5 in collection.objects:
            remove_file(project.store.cache.path_of(md5), below=project.store.cache.folder)
    return collection


def _read_trees(
    project: Project, records: Iterable[MaterialisationRecord]
) -> tuple[dict[str, Tree], set[str]]:
    """Reads the trees of recorded versions, and the trees of states of `data/` that consist of such versions.

    A version without a tree object of its own may be part of such a state: `dvc pull` leaves it so.

    Returns:
        The trees by address, and the files of all other trees: those of versions that another branch's ledger names.
    """
    cache = project.store.cache
    versions: dict[str, set[str]] = {}
    for record in records:
        versions.setdefault(record.asset, set()).add(record.output.md5)
    known = {md5 for md5s in versions.values() for md5 in md5s}
    found: dict[str, Tree] = {}
    foreign: set[str] = set()
    for path in sorted(cache.folder.glob("files/md5/*/*.dir")):
        md5 = path.parent.name + path.name
        tree = cache.read_tree(md5) or Tree(())
        parts = split_tree(tree, versions)
        if md5 in known:
            found[md5] = tree
        elif all(asset in versions and part.md5 in versions[asset] for asset, part in parts.items()):
            found |= {md5: tree, **{part.md5: part for part in parts.values()}}
        else:
            foreign.update(file_md5 for _, file_md5 in tree.files)
    return found, foreign


def _write_note(project: Project, collection: Collection, *, now: datetime.datetime) -> None:
    records = {record.record_id: record for record in project.ledger.records()}
    named = {name for record in records.values() for name in record.previous}
    newest = sorted(records.keys() - named)
    note = PruneNote(
        when=now,
        keep=collection.keep,
        newest=tuple(newest),
        sequence=max(records[name].sequence for name in newest),
        versions=collection.pruned,
    )
    data = note.to_bytes()
    path = project.ledger.folder / FOLDER / f"{Digest.from_bytes(data).sha256}{RECORD_SUFFIX}"
    write_whole(path, data, scratch=project.scratch / "scratch")
