"""Verifies signatures of releases with the keys that the auditor trusts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.lineage.auditing.contents import FindFile
from rlaif_dagster.lineage.auditing.findings import AuditedSignature, Finding, show_path
from rlaif_dagster.lineage.auditing.records import LedgerReading, name_version
from rlaif_dagster.lineage.ledger import RECORD_SUFFIX
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.signing import (
    SIGNATURE_SUFFIX,
    SIGNATURES,
    find_fault,
    identify_public_key,
    lay_beside,
    read_name,
)
from rlaif_dagster.names import ALIGNED_POLICY, RELEASE_JSON, RELEASED_POLICY

_NAME_KEY: Final = (
    "get the signer's public key from a source that you trust; `rlaif audit --key FILE` or `rlaif verify`"
)
_NOT_SOUND: Final = "some of the signed bytes are missing, not recorded or damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureReading:
    """What an audit found out about the signatures."""

    signatures: tuple[AuditedSignature, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()


def check_signatures(
    project: Project,
    ledger: LedgerReading,
    records: Mapping[str, MaterialisationRecord],
    keys: Sequence[Path],
    find_file: FindFile,
) -> SignatureReading:
    """Verifies the signatures of the audited releases; those by other keys are only listed.

    Args:
        project: The project.
        ledger: The ledger.
        records: The audited records, by id.
        keys: Public keys (PEM) from outside the project.
        find_file: Finds the intact bytes of an audited version.

    Raises:
        InputError: If a key cannot be used.
        MissingExtraError: If a key is named, and the library is not installed.
        OSError: If a signature cannot be read.
    """
    root = project.root
    trusted = {identify_public_key(key): key for key in keys}
    told: list[AuditedSignature] = []
    findings: list[Finding] = []
    for path in sorted((root / SIGNATURES).glob(f"*{SIGNATURE_SUFFIX}")):
        record_id, key = read_name(path) or (None, None)
        if record_id is None or key is None:
            continue
        record = records.get(record_id)
        if record is None:
            if not (project.ledger.folder / f"{record_id}{RECORD_SUFFIX}").exists():
                findings.append(_miss_record(show_path(path, root), record_id))
            continue
        fault = _verify(ledger, record, path, trusted[key], find_file) if key in trusted else None
        told.append(
            AuditedSignature(
                file=show_path(path, root),
                version=name_version(record),
                key=str(key),
                holds=None if key not in trusted or fault == _NOT_SOUND else fault is None,
                note=_NAME_KEY if key not in trusted else fault or "",
            )
        )
        if told[-1].holds is False:
            findings.append(_find_broken(told[-1]))
    signers = {signature.key for signature in told}
    unused = [key for key in trusted if str(key) not in signers]
    is_release_here = any(record.asset == RELEASED_POLICY for record in records.values())
    if is_release_here:
        findings += map(_miss_signature, unused)
    skipped = (
        () if is_release_here or not keys else ("signatures: none of the audited versions is a release",)
    )
    return SignatureReading(signatures=tuple(told), findings=tuple(findings), skipped=skipped)


def _verify(
    ledger: LedgerReading, record: MaterialisationRecord, signature: Path, key: Path, find_file: FindFile
) -> str | None:
    """Says why a signature is not valid for a release; None if it is. Writes nothing in the project."""
    asset, digest = record.metrics.get("asset", ALIGNED_POLICY), record.metrics.get("policy")
    policies = [
        other for other in ledger.records.values() if (other.asset, other.output.digest) == (asset, digest)
    ]
    release = find_file(record, RELEASE_JSON)
    if not policies or release is None:
        return _NOT_SOUND
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "signed")
        for file in policies[-1].output.files:
            source = find_file(policies[-1], file.path)
            if source is None:
                return _NOT_SOUND
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).symlink_to(source.resolve())
        lay_beside(folder, release.read_bytes(), record)
        return find_fault(folder, signature, key)


def _find_broken(signature: AuditedSignature) -> Finding:
    return Finding(
        kind="signature-broken",
        place=signature.file,
        found=signature.note,
        expected=f"a signature of {signature.version} by the key {signature.key}",
        remedy="the release here is not what was signed: take the signature, ledger and versions from the signer, and "
        "audit again",
    )


def _miss_signature(key: Digest) -> Finding:
    return Finding(
        kind="signature-missing",
        place=f"{SIGNATURES}/",
        found=f"no signature by the key {key}",
        expected="a signature of an audited release, since you named this key",
        remedy=f"take {SIGNATURES}/ from the signer (`rlaif pull`), or name another key",
    )


def _miss_record(place: str, record_id: str) -> Finding:
    return Finding(
        kind="record-missing",
        place=place,
        found=f"a signature of the record {record_id}, which is missing",
        expected="every signed release in the ledger",
        remedy="restore the record from git, a backup or the remote",
    )
