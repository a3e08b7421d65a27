"""CycloneDX: the bill of materials of a model: versions, their files, and the libraries that computed it.

Specification: https://cyclonedx.org/docs/1.6/json/
"""

import json
import uuid
from typing import TYPE_CHECKING

from rlaif_dagster.digest import Digest
from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import (
    VersionLineage,
    derive_uuid,
    is_model,
    name_version_in_full,
)
from rlaif_dagster.lineage.record import MaterialisationRecord

if TYPE_CHECKING:
    from cyclonedx.model.component import Component


def export_cyclonedx(lineage: VersionLineage) -> str:
    """Writes the bill of materials.

    Raises:
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.output.json import JsonV1Dot6

    *behind, subject = lineage.records
    components = {name_version_in_full(record): _describe_version(record) for record in lineage.records}
    libraries = [_describe_library(name, version) for name, version in sorted(subject.libraries.items())]
    top = components[name_version_in_full(subject)]
    bom = Bom(
        serial_number=uuid.UUID(derive_uuid("cyclonedx", subject.record_id)),
        metadata=BomMetaData(component=top, timestamp=subject.ended_at),
        components=[*(components[name_version_in_full(record)] for record in behind), *libraries],
    )
    for record in lineage.records:
        parents = [components[name_version_in_full(parent)] for parent in lineage.parents_of(record)]
        bom.register_dependency(
            components[name_version_in_full(record)], [*parents, *libraries] if record is subject else parents
        )
    return json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=1, sort_keys=True) + "\n"


def _describe_version(record: MaterialisationRecord) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    name = name_version_in_full(record)
    properties = {"rlaif:recipe": record.recipe, "rlaif:record": record.record_id}
    return Component(
        name=record.asset,
        type=ComponentType.MACHINE_LEARNING_MODEL if is_model(record) else ComponentType.DATA,
        version=record.output.digest,
        bom_ref=name,
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=Digest.parse(record.output.digest).sha256),
        ],
        properties=[Property(name=key, value=value) for key, value in properties.items()],
        components=[
            Component(
                name=file.path,
                type=ComponentType.FILE,
                bom_ref=f"{name}/{file.path}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
            )
            for file in record.output.files
        ],
    )


def _describe_library(name: str, version: str) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    address = PackageURL(type="pypi", name=name.lower().replace("_", "-"), version=version)
    return Component(
        name=name, type=ComponentType.LIBRARY, version=version, purl=address, bom_ref=address.to_string()
    )
