"""What an audit says: findings, and what it could not look at."""

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
        "record-missing": "a record that another, or a signature, names is not there",
        "record-chain": "a record's place in the chain contradicts the records before it",
        "record-recipe": "a record's recipe is not the digest of its parts, or names other inputs than were read",
        "record-output": "a record's output digest is not that of its list of files",
        "record-input": "a record read a version that no earlier record made, or that a check had blocked",
        "record-override": "a record rests on an override of a check that passed, or of a version that it did not read",
        "record-reuse": "a record's reused version was made by another record, or by another recipe, than it names",
        "object-changed": "an object of the store does not hash to its name, or is no readable file",
        "object-missing": "an object that a version needs is not in the store; it may be in the remote",
        "object-unknown": "an object of the store belongs to no recorded version",
        "version-differs": "a stored version is sound by DVC's md5, and is not what its record says",
        "pin-changed": "data.dvc is missing, damaged, or contradicts the tree that it pins",
        "pin-differs": "data.dvc pins another version of an asset than the ledger's newest",
        "copy-changed": "a file in data/ is not that of the pinned version",
        "copy-missing": "a file of the pinned version is not in data/",
        "unknown-file": "a file stands where only files of ours may stand",
        "event-log-damaged": "Dagster's event log cannot be read, or contradicts itself",
        "event-unknown": "an event of Dagster names a version or record that the ledger does not have",
        "event-missing": "a record names a run that Dagster knows, and Dagster has no event of it",
        "event-differs": "an event of Dagster contradicts the record that it names, or is not the newest version",
        "same-bytes": "two assets hold the same bytes, and nothing in their recipes explains it",
        "name-contradicted": "the rows of a table name another policy or judge than the record says",
        "rows-copied": "rows of one judge or source are copies of another's",
        "signature-broken": "a signature does not hold for the release as it is here",
        "signature-missing": "no release that is audited is signed with a key that was named",
    }
)
"""Every kind of finding, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement.

    Attributes:
        kind: One of `KINDS`.
        place: Where: a path inside the project, an asset at a digest, or a run of Dagster.
        found: What is there.
        expected: What should be there, and by whose word.
        remedy: What to do about it; the audit itself does nothing.
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
    """A version that was built on another which had failed a check, since a person let it pass: told, and no finding.

    Attributes:
        built: The version that was built, `asset@<12 hex digits>`.
        when: When, UTC, ISO 8601.
        asset: The asset that had failed.
        digest: Its version.
        check: The check.
        reason: What the person said.
        stands: Whether `inputs/overrides.yaml` or the hold still says so; None where the files cannot be read.
    """

    built: str
    when: str
    asset: str
    digest: str
    check: str
    reason: str
    stands: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A version that `rlaif gc` gave up, and that was not recorded again since: told, and no finding.

    Attributes:
        version: The version, `asset@<12 hex digits>`.
        when: When, UTC, ISO 8601.
        keep: The rules of what was kept.
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
        key: sha256 of the public key by which it says that it was made.
        holds: Whether it does; None if it was not verified.
        note: Why not, or how to verify it; empty where it holds.
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
        skipped: What was not looked at, and why.
        overrides: What rests on failed checks that a person let pass.
        given_up: Versions whose bytes were given up on purpose, so that they were not looked at.
        signatures: The signatures of the releases that were audited.
        num_records: Records that were checked.
        num_objects: Objects of the store whose bytes were hashed.
        num_bytes: Bytes that were hashed: objects, and files in `data/`.
        num_events: Materialisations in Dagster's event log; None where there is none.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    overrides: tuple[OverrideUse, ...]
    given_up: tuple[GivenUp, ...]
    signatures: tuple[AuditedSignature, ...]
    num_records: int
    num_objects: int
    num_bytes: int
    num_events: int | None


def show_path(path: Path, root: Path) -> str:
    """A path for people, inside the project where it lies there; bytes that are no text are escaped."""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(shown.as_posix()).decode("utf-8", errors="backslashreplace")
