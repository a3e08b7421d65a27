"""What every export format contains: a version and everything that it was made from, as recorded in the ledger.

A reused result is listed with the record of its computation.
"""

import functools
import importlib.metadata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import LedgerError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.tracing.subjects import open_versions
from rlaif_dagster.lineage.versions import AssetVersion, find_ancestors, find_version, version_of

_DISTRIBUTION = "rlaif-dagster"
_NAMESPACE = uuid.UUID(Digest.from_bytes(b"rlaif_dagster lineage").sha256[:32])
_MEDIA_TYPES = {
    ".html": "text/html",
    ".jinja": "text/plain",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".md": "text/markdown",
    ".parquet": "application/x-parquet",
    ".png": "image/png",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of one table: their names and Arrow types, in order."""

    path: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class VersionLineage:
    """A version and everything that it was made from.

    Attributes:
        root: The project's folder.
        records: The records that made these versions, sources first, the version itself last.
        tables: The version's own parquet tables.
    """

    root: Path
    records: tuple[MaterialisationRecord, ...]
    tables: tuple[Table, ...] = ()

    @classmethod
    def from_project(cls, project: Project, target: str) -> "VersionLineage":
        """Reads the lineage of `ASSET`, `ASSET@DIGEST` or `DIGEST`.

        Raises:
            InputError: If the target names no version, or several.
            LedgerError: If the ledger is damaged, or a record's digest does not match its files.
            StorageError: If the version has tables whose bytes are not available.
        """
        known = project.ledger.records()
        subject = find_version(project, target)
        by_id = {record.record_id: record for record in known}
        while subject.reused_from:
            subject = by_id[subject.reused_from]
        computed = [record for record in known if record.reused_from is None]
        made = sorted(
            find_ancestors(computed, subject), key=lambda record: (record.sequence, record.record_id)
        )
        return cls(root=project.root, records=tuple(made), tables=_read_tables(project, made[-1]))

    @property
    def subject(self) -> MaterialisationRecord:
        """The record of the version itself."""
        return self.records[-1]

    @functools.cached_property
    def by_version(self) -> Mapping[AssetVersion, MaterialisationRecord]:
        """The records by the version that they made."""
        return {version_of(record): record for record in self.records}

    def parents_of(self, record: MaterialisationRecord) -> list[MaterialisationRecord]:
        """The records of a version's direct inputs."""
        return [self.by_version[name, ref.digest] for name, ref in sorted(record.inputs.items())]


def name_version_in_full(record: MaterialisationRecord) -> str:
    """Names a version `ASSET@<64 hex digits>`, which every `rlaif` command accepts."""
    return f"{record.asset}@{Digest.parse(record.output.digest).sha256}"


def write_manifest(record: MaterialisationRecord) -> bytes:
    """Writes the bytes whose sha256 is the version's digest: canonical JSON of [path, digest] of every file.

    Raises:
        LedgerError: If it is not.
    """
    manifest = canonical_json([[file.path, f"sha256:{file.sha256}"] for file in record.output.files])
    if str(Digest.from_bytes(manifest)) != record.output.digest:
        raise LedgerError(
            f"the record {record.record_id} of {record.asset} names {record.output.digest}, but its files give another "
            "digest.\n  remedy: `rlaif audit` shows what else disagrees"
        )
    return manifest


def is_model(record: MaterialisationRecord) -> bool:
    """Says whether a version holds a model's weights."""
    return any(file.path.endswith(".safetensors") for file in record.output.files)


def derive_uuid(*parts: str) -> str:
    """Derives a UUID (version 5) from texts."""
    return str(uuid.uuid5(_NAMESPACE, canonical_json(parts).decode()))


def find_media_type(path: str) -> str:
    """Finds the media type of a file by its suffix."""
    return _MEDIA_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def name_producer(record: MaterialisationRecord) -> str:
    """Names the program that wrote a record, with its version, as a package URL."""
    return name_program(record.libraries.get(_DISTRIBUTION, "0"))


def name_program(version: str | None = None) -> str:
    """Names this program as a package URL, with the given version or the running one."""
    return f"pkg:pypi/{_DISTRIBUTION}@{version or importlib.metadata.version(_DISTRIBUTION)}"


def _read_tables(project: Project, record: MaterialisationRecord) -> tuple[Table, ...]:
    paths: Sequence[str] = [file.path for file in record.output.files if file.path.endswith(".parquet")]
    if not paths:
        return ()
    from pyarrow import parquet

    with open_versions(project, version=record) as folders:
        schemas = {path: parquet.read_schema(folders["version"] / path) for path in paths}
    return tuple(
        Table(path=path, columns=tuple((field.name, str(field.type)) for field in schema))
        for path, schema in schemas.items()
    )
