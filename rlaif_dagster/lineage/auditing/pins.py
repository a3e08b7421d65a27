"""Compares `data.dvc` and the working copies in `data/` with the ledger."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.auditing.findings import Finding, show_path
from rlaif_dagster.lineage.auditing.objects import StoreReading, split_tree, walk_files
from rlaif_dagster.lineage.auditing.records import LedgerReading, name_version
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.versioning.objects import hash_file
from rlaif_dagster.versioning.pin import DATA_FOLDER, read_pinned_md5
from rlaif_dagster.versioning.tree import Tree

PIN_FILE: Final = f"{DATA_FOLDER}.dvc"
_TAKE_BACK: Final = (
    "restore data.dvc from git (`git checkout HEAD -- data.dvc`), or delete it; then `rlaif run`"
)


def read_pin(root: Path) -> tuple[str | None, list[Finding]]:
    """Reads which tree `data.dvc` pins; returns None and a finding if it cannot be read."""
    try:
        return read_pinned_md5(root / PIN_FILE), []
    except (StorageError, OSError, ValueError, RecursionError) as error:
        return None, [
            Finding(
                kind="pin-changed",
                place=PIN_FILE,
                found=" ".join(str(error).partition("\n  remedy:")[0].split()),
                expected="what `dvc add data` writes",
                remedy=_TAKE_BACK,
            )
        ]


def find_pinned_tree(pinned: str | None, ledger: LedgerReading, store: StoreReading) -> Tree | None:
    """Finds the pinned tree of `data/`: the stored one, or the tree of the newest records if that is the pinned one."""
    if pinned is None or pinned in store.trees:
        return store.trees.get(pinned or "")
    whole = Tree(())
    for asset, head in ledger.heads.items():
        whole = whole.replace_subtree(asset, store.trees.get(head.output.md5, Tree(())))
    return whole if whole.md5 == pinned else None


def check_pin(
    root: Path,
    whole: Tree,
    ledger: LedgerReading,
    *,
    assets: Mapping[str, MaterialisationRecord],
    is_complete: bool,
) -> Iterator[Finding]:
    """Compares `data.dvc` with the tree that it pins, and that tree with the newest records.

    Args:
        root: The project.
        whole: The pinned tree.
        ledger: The whole ledger.
        assets: The assets to check, with their newest records.
        is_complete: Whether these are all assets, so that nothing else may be pinned.
    """
    sizes = {(r.asset, r.output.md5): r.output.size for r in ledger.records.values()}
    pinned = split_tree(whole, ledger.heads)
    known_sizes = [sizes.get((asset, tree.md5)) for asset, tree in pinned.items()]
    yield from _check_form(root, whole, None if None in known_sizes else sum(filter(None, known_sizes)))
    if is_complete:
        for path in sorted(pinned.keys() - ledger.heads.keys()):
            yield _differ(path, "a file of no recorded asset", "recorded versions only")
    made = {(r.asset, r.output.md5): name_version(r) for r in ledger.records.values()}
    for asset, head in assets.items():
        tree = pinned.get(asset)
        if tree is None:
            yield _differ(asset, "nothing", f"{name_version(head)}, md5 {head.output.md5}")
        elif tree.md5 != head.output.md5:
            known = made.get((asset, tree.md5), "a version that no record made")
            yield _differ(asset, f"{known}, md5 {tree.md5}", f"{name_version(head)}, md5 {head.output.md5}")


def report_unpinned(assets: Mapping[str, MaterialisationRecord]) -> Iterator[Finding]:
    """Yields a finding if there are versions but `data.dvc` is missing or pins nothing."""
    if assets:
        yield Finding(
            kind="pin-changed",
            place=PIN_FILE,
            found="no such file, or nothing pinned in it",
            expected=f"a pin of {', '.join(map(name_version, assets.values()))}",
            remedy=_TAKE_BACK,
        )


def _differ(asset: str, found: str, expected: str) -> Finding:
    return Finding(
        kind="pin-differs",
        place=f"{PIN_FILE}: {asset}",
        found=found,
        expected=expected,
        remedy="data.dvc and lineage/ belong together: take both from one commit; `rlaif run` updates data.dvc",
    )


def _check_form(root: Path, whole: Tree, size: int | None) -> Iterator[Finding]:
    """Checks for every line that `dvc add data` would write; comments and other keys belong to the user."""
    text = (root / PIN_FILE).read_bytes().decode("utf-8", errors="replace")
    lines = text.split("\n")
    expected = [
        "outs:",
        f"- md5: {whole.md5}",
        f"  nfiles: {len(whole.files)}",
        "  hash: md5",
        "  path: data",
    ]
    if size is not None:
        expected.append(f"  size: {size}")
    missing = [line for line in expected if line not in lines]
    if not missing and lines[-1] == "":
        return
    key = re.match(r"\W*\w+", missing[0]) if missing else None
    near = [line for line in lines if key and line.startswith(key[0])]
    yield Finding(
        kind="pin-changed",
        place=PIN_FILE,
        found=f"{near[0] if near else 'no such line'!r}" if missing else "no newline at the end",
        expected=f"the line {missing[0]!r}" if missing else "a complete last line",
        remedy=_TAKE_BACK,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesReading:
    """The findings in `data/`, and the number of hashed bytes."""

    findings: tuple[Finding, ...]
    num_bytes: int


def check_copies(
    root: Path,
    whole: Tree,
    ledger: LedgerReading,
    *,
    assets: Iterable[str],
    is_complete: bool,
) -> CopiesReading:
    """Compares every file in `data/` with the pinned version of its asset.

    Args:
        root: The project's folder; `data/` exists.
        whole: The pinned tree.
        ledger: The whole ledger.
        assets: The assets to check.
        is_complete: Whether these are all assets, so that nothing else may be there.
    """
    findings: list[Finding] = []
    num_bytes = 0
    folder = root / DATA_FOLDER
    prefixes = tuple(f"{asset}/" for asset in assets)
    expected = {path: md5 for path, md5 in whole.files if is_complete or path.startswith(prefixes)}
    digests = _collect_digests(whole, ledger)
    here = {path.relative_to(folder).as_posix(): path for path in walk_files(folder)}
    names = sorted(here if is_complete else filter(lambda name: name.startswith(prefixes), here))
    for name in names:
        if name not in expected:
            findings.append(
                Finding(
                    kind="unknown-file",
                    place=show_path(here[name], root),
                    found="a file that the pinned version does not have",
                    expected="only the pinned version's files",
                    remedy="move it elsewhere if it is yours; `rlaif run` replaces the folder by the recorded version",
                )
            )
    known = [name for name in names if name in expected]
    wanted = [digests.get(name, f"md5 {expected[name]}") for name in known]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = pool.map(_hash_copy, [here[name] for name in known], [name in digests for name in known])
        for name, digest, copy in zip(known, wanted, read, strict=True):
            num_bytes += copy.size
            if copy.digest != digest:
                findings.append(
                    _describe_copy(
                        "copy-changed",
                        show_path(here[name], root),
                        copy.fault or copy.digest,
                        "a readable file" if copy.fault else digest,
                    )
                )
    for asset, names in _group_missing(expected.keys() - here.keys(), expected, ledger).items():
        findings += [
            _describe_copy(
                "copy-missing", f"{DATA_FOLDER}/{name}", "nothing", f"a copy of {asset}'s pinned version"
            )
            for name in names
        ]
    return CopiesReading(findings=tuple(findings), num_bytes=num_bytes)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file's digest as text and its size in bytes, or why it cannot be read."""

    digest: str = ""
    size: int = 0
    fault: str | None = None


def _hash_copy(path: Path, is_recorded: bool) -> _Copy:
    """Hashes a file with sha256 if its record is known, else with md5."""
    try:
        size = path.stat().st_size
        return _Copy(str(Digest.from_file(path)) if is_recorded else f"md5 {hash_file(path).md5}", size)
    except OSError as error:
        return _Copy(fault=f"it cannot be read ({error.strerror or error})")


def _collect_digests(whole: Tree, ledger: LedgerReading) -> dict[str, str]:
    """Collects the recorded sha256 digests of a tree's files, for versions that are recorded."""
    files = {(r.asset, r.output.md5): r.output.files for r in ledger.records.values()}
    return {
        f"{asset}/{file.path}": f"sha256:{file.sha256}"
        for asset, tree in split_tree(whole, ledger.heads).items()
        for file in files.get((asset, tree.md5), ())
    }


def _group_missing(
    missing: set[str], expected: Mapping[str, str], ledger: LedgerReading
) -> dict[str, list[str]]:
    """Groups missing paths by asset; an asset with no file left is listed once."""
    grouped: dict[str, list[str]] = {}
    trees = split_tree(Tree(tuple(sorted(expected.items()))), ledger.heads)
    for asset, tree in trees.items():
        names = [f"{asset}/{path}" for path, _ in tree.files if f"{asset}/{path}" in missing]
        if names:
            grouped[asset] = [asset] if len(names) == len(tree.files) else names
    return grouped


def _describe_copy(kind: str, place: str, found: str, expected: str) -> Finding:
    return Finding(
        kind=kind,
        place=place,
        found=found,
        expected=expected,
        remedy="no stage reads data/, so no result depends on it; keep the file if it is yours, and restore the "
        "recorded version with `rlaif run`",
    )
