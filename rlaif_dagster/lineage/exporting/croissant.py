"""Croissant: a version as a data set, its tables as record sets, everything that it was made from as its distribution.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import base64
import json
from typing import TYPE_CHECKING

from rlaif_dagster.digest import Digest
from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import (
    Table,
    VersionLineage,
    find_media_type,
    name_version_in_full,
    write_manifest,
)
from rlaif_dagster.lineage.record import MaterialisationRecord

if TYPE_CHECKING:
    import mlcroissant


def export_croissant(lineage: VersionLineage) -> str:
    """Writes the description. Its paths are relative to a project's folder.

    Raises:
        LedgerError: If a record's digest does not match its files.
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        import mlcroissant

    subject = lineage.subject
    metadata = mlcroissant.Metadata(
        name=subject.asset,
        description=f"The version {subject.output.digest} of {subject.asset}, and everything that it was made from.",
        version=f"1.0.0+{Digest.parse(subject.output.digest).sha256}",
        date_published=subject.ended_at,
        distribution=[item for record in lineage.records for item in _describe(record)],
        record_sets=[_describe_table(subject, table) for table in lineage.tables],
    )
    return json.dumps(metadata.to_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _describe(record: MaterialisationRecord) -> "list[mlcroissant.FileObject]":
    """Describes a version by its complete manifest and each of its files."""
    import mlcroissant

    manifest = write_manifest(record)
    made_from = ", ".join(f"{name}@{ref.digest}" for name, ref in sorted(record.inputs.items()))
    return [
        mlcroissant.FileObject(
            id=name_version_in_full(record),
            name=name_version_in_full(record),
            description=f"The manifest of a version of {record.asset}, made from: {made_from or 'no other version'}.",
            content_url=f"data:application/json;base64,{base64.b64encode(manifest).decode()}",
            encoding_formats=["application/json"],
            content_size=f"{len(manifest)} B",
            sha256=Digest.parse(record.output.digest).sha256,
        ),
        *(
            mlcroissant.FileObject(
                id=_name_file(record, file.path),
                name=_name_file(record, file.path),
                content_url=f"data/{record.asset}/{file.path}",
                encoding_formats=[find_media_type(file.path)],
                content_size=f"{file.size} B",
                sha256=file.sha256,
            )
            for file in record.output.files
        ),
    ]


def _name_file(record: MaterialisationRecord, path: str) -> str:
    return f"{name_version_in_full(record)}/{path}"


def _describe_table(record: MaterialisationRecord, table: Table) -> "mlcroissant.RecordSet":
    """Describes the columns with plain values; Croissant's readers cannot read nested columns from parquet."""
    import mlcroissant

    types = {
        "bool": mlcroissant.DataType.BOOL,
        "double": mlcroissant.DataType.FLOAT64,
        "int64": mlcroissant.DataType.INT64,
        "string": mlcroissant.DataType.TEXT,
    }
    name = table.path.removesuffix(".parquet")
    nested = [column for column, kind in table.columns if kind not in types]
    return mlcroissant.RecordSet(
        id=name,
        name=name,
        description=f"The rows of {table.path}" + (f", without {', '.join(nested)}." if nested else "."),
        fields=[
            mlcroissant.Field(
                id=f"{name}/{column}",
                name=column,
                data_types=[types[kind]],
                source=mlcroissant.Source(
                    file_object=_name_file(record, table.path), extract=mlcroissant.Extract(column=column)
                ),
            )
            for column, kind in table.columns
            if kind in types
        ],
    )
