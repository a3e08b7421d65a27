"""The result of an audit: findings, and what could not be checked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "record-changed": "a lineage record's bytes do not hash to its name",
        "record-invalid": "a file named by its own digest is not a lineage record",
        "record-missing": "a record that another record or a signature names is missing",
        "record-chain": "a record's place in the chain contradicts the records before it",
        "record-recipe": "a record's recipe is not the digest of its parts, or its inputs are not those that were read",
        "record-output": "a record's output digest is not that of its list of files",
        "record-input": "a record read a version that no earlier record made, or that a failed check blocked",
        "record-override": "a record names an override of a check that passed, or of a version that it did not read",
        "record-reuse": "a record's reused version was made by another record, or with another recipe, than it names",
        "object-changed": "an object of the store does not hash to its name, or is not a readable file",
        "object-missing": "an object that a version needs is not in the store; it may be in the remote",
        "object-unknown": "an object of the store belongs to no recorded version",
        "version-differs": "a stored version matches DVC's md5, but not its record",
        "pin-changed": "data.dvc is missing, damaged, or contradicts the tree that it pins",
        "pin-differs": "data.dvc pins another version of an asset than the ledger's newest",
        "copy-changed": "a file in data/ differs from the pinned version",
        "copy-missing": "a file of the pinned version is not in data/",
        "unknown-file": "an unknown file in a folder that belongs to this program",
        "event-log-damaged": "Dagster's event log cannot be read, or contradicts itself",
        "event-unknown": "an event of Dagster names a version or record that the ledger does not have",
        "event-missing": "a record names a run that Dagster knows, but Dagster has no event of it",
        "event-differs": "an event of Dagster contradicts the record that it names, or is not the newest version",
        "same-bytes": "two assets hold the same bytes, and nothing in their recipes explains it",
        "name-contradicted": "the rows of a table name another policy or judge than the record says",
        "rows-copied": "rows of one judge or source are copies of another's",
        "signature-broken": "a signature does not match the release as it is here",
        "signature-missing": "no audited release is signed with the named key",
    }
)
"""Every kind of finding, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement.

    Attributes:
        kind: One of `KINDS`.
        place: A path inside the project, an asset at a digest, or a run of Dagster.
        found: What is there.
        expected: What should be there, and which source says so.
        remedy: What to do about it. The audit itself changes nothing.
    """

    kind: str
    place: str
    found: str
    expected: str
    remedy: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is not a kind of finding")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideUse:
    """A version built on another one that a person let pass a failed check. It is reported, but is no finding.

    Attributes:
        built: The version that was built, `asset@<12 hex digits>`.
        when: When, UTC, ISO 8601.
        asset: The asset that had failed.
        digest: Its version.
        check: The check.
        reason: What the person said.
        stands: Whether the override or the hold is still in force; None if the files cannot be read.
    """

    built: str
    when: str
    asset: str
    digest: str
    check: str
    reason: str
    stands: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPruning:
    """A version that `rlaif gc` pruned and that was not made again since. It is reported, but is no finding.

    Attributes:
        version: The version, `asset@<12 hex digits>`.
        when: When, UTC, ISO 8601.
        keep: The rules that said what to keep.
    """

    version: str
    when: str
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedSignature:
    """A signature of a release that was audited.

    Attributes:
        file: The file.
        version: The release, `asset@<12 hex digits>`.
        key: sha256 of the public key that the signature names.
        holds: Whether the signature is valid; None if it was not verified.
        note: Why it is not valid, or how to verify it; empty if it is valid.
    """

    file: str
    version: str
    key: str
    holds: bool | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The outcome of an audit.

    Attributes:
        findings: Every disagreement, the ledger's first.
        skipped: What was not checked, and why.
        overrides: Versions built on a failed check that a person let pass.
        pruned: Versions whose bytes were pruned on purpose, and so could not be checked.
        signatures: The signatures of the audited releases.
        num_records: Number of checked records.
        num_objects: Number of objects in the store whose bytes were hashed.
        num_bytes: Number of hashed bytes: objects, and files in `data/`.
        num_events: Number of materialisations in Dagster's event log; None if there is no log.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    overrides: tuple[OverrideUse, ...]
    pruned: tuple[ReportedPruning, ...]
    signatures: tuple[AuditedSignature, ...]
    num_records: int
    num_objects: int
    num_bytes: int
    num_events: int | None


def show_path(path: Path, root: Path) -> str:
    """Shows a path, relative to the project if it is inside; bytes that are not text are escaped."""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(shown.as_posix()).decode("utf-8", errors="backslashreplace")
