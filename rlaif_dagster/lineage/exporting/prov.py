"""W3C PROV: versions and files as entities, materialisations as activities, in PROV-JSON.

Specification: https://www.w3.org/submissions/2013/SUBM-prov-json-20130424/
"""

import json
from urllib.parse import quote

from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import VersionLineage, name_producer, name_version_in_full
from rlaif_dagster.lineage.record import MaterialisationRecord

PROV_NAMESPACE = "urn:rlaif:"


def export_prov(lineage: VersionLineage) -> str:
    """Writes the document.

    Raises:
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from prov.model import PROV, ProvDocument

    document = ProvDocument()
    document.add_namespace("rlaif", PROV_NAMESPACE)
    for producer in sorted({name_producer(record) for record in lineage.records}):
        document.agent(
            _name("program", producer), {"prov:type": PROV["SoftwareAgent"], "prov:label": producer}
        )
    for record in lineage.records:
        version = _name_version(record)
        making = _name("materialisation", record.record_id)
        document.collection(
            version,
            {
                "prov:label": record.asset,
                "rlaif:digest": record.output.digest,
                "rlaif:size": record.output.size,
            },
        )
        document.activity(
            making,
            record.started_at,
            record.ended_at,
            {
                "prov:label": f"making {record.asset}",
                "rlaif:recipe": record.recipe,
                "rlaif:record": record.record_id,
            },
        )
        document.wasGeneratedBy(version, making, record.ended_at)
        document.wasAssociatedWith(making, _name("program", name_producer(record)))
        for parent in lineage.parents_of(record):
            document.used(making, _name_version(parent))
            document.wasDerivedFrom(version, _name_version(parent), activity=making)
        for file in record.output.files:
            part = _name("file", f"{name_version_in_full(record)}/{file.path}")
            document.entity(part, {"prov:label": file.path, "rlaif:digest": f"sha256:{file.sha256}"})
            document.hadMember(version, part)
    return json.dumps(json.loads(str(document.serialize(format="json"))), indent=1, sort_keys=True) + "\n"


def _name(kind: str, name: str) -> str:
    return f"rlaif:{kind}/{quote(name)}"


def _name_version(record: MaterialisationRecord) -> str:
    return _name("version", name_version_in_full(record))
