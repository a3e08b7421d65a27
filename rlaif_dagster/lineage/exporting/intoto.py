"""in-toto: a statement with SLSA provenance. It says that a recipe made these files from these versions.

Specifications: https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1
"""

import json
from typing import TYPE_CHECKING, Any

from rlaif_dagster.digest import Digest
from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import (
    VersionLineage,
    derive_uuid,
    find_media_type,
    name_producer,
    name_version_in_full,
    write_manifest,
)
from rlaif_dagster.lineage.record import MaterialisationRecord

if TYPE_CHECKING:
    from in_toto_attestation.v1.resource_descriptor_pb2 import ResourceDescriptor

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:rlaif:materialisation:v1"

_LARGEST_EXACT = 2**53  # largest integer that a double holds exactly: in-toto writes all numbers as doubles


def export_intoto(lineage: VersionLineage) -> str:
    """Writes the statement.

    Raises:
        LedgerError: If a record's digest does not match its files.
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from google.protobuf.json_format import MessageToDict
        from in_toto_attestation.v1.statement import Statement

    *behind, subject = lineage.records
    statement = Statement(
        [_describe_version(subject), *_describe_files(subject, with_version=False)],
        PREDICATE_TYPE,
        MessageToDict(_state_provenance(subject, behind)),
    )
    statement.validate()
    return json.dumps(MessageToDict(statement.pb), indent=1, sort_keys=True) + "\n"


def _state_provenance(subject: MaterialisationRecord, behind: list[MaterialisationRecord]) -> Any:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

    parts = subject.recipe_parts
    provenance = provenance_pb2.Provenance()
    definition = provenance.build_definition
    definition.build_type = BUILD_TYPE
    ParseDict(
        {"asset": subject.asset, "settings": _keep_exact(parts.settings)}, definition.external_parameters
    )
    ParseDict(
        {"code_version": parts.code_version, "engine": parts.engine, "recipe": subject.recipe},
        definition.internal_parameters,
    )
    for record in behind:
        definition.resolved_dependencies.append(_describe_version(record))
        definition.resolved_dependencies.extend(_describe_files(record, with_version=True))
    provenance.run_details.builder.id = name_producer(subject)
    metadata = provenance.run_details.metadata
    metadata.invocation_id = f"urn:uuid:{derive_uuid(subject.run_id or subject.record_id, subject.asset)}"
    metadata.started_on.FromDatetime(subject.started_at)
    metadata.finished_on.FromDatetime(subject.ended_at)
    return provenance


def _describe_version(record: MaterialisationRecord) -> "ResourceDescriptor":
    """Describes a version by its manifest, whose sha256 is the version's digest."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return ResourceDescriptor(
        name=name_version_in_full(record),
        digest={"sha256": Digest.parse(record.output.digest).sha256},
        content=write_manifest(record),
        media_type="application/json",
    ).pb


def _describe_files(record: MaterialisationRecord, *, with_version: bool) -> "list[ResourceDescriptor]":
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return [
        ResourceDescriptor(
            name=f"{name_version_in_full(record)}/{file.path}" if with_version else file.path,
            digest={"sha256": file.sha256},
            media_type=find_media_type(file.path),
        ).pb
        for file in record.output.files
    ]


def _keep_exact(value: Any) -> Any:
    """Turns large integers (seeds) into text: as doubles they would lose digits."""
    if isinstance(value, dict):
        return {key: _keep_exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_keep_exact(item) for item in value]
    if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
        return str(value)
    return value
