"""Makes the metadata that the UI shows: sizes, digests, figures, a sample of the table, and the plots."""

import base64
from pathlib import Path
from typing import Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import MaterialiseResult, work_folder

_NUM_SAMPLE_ROWS = 8
_NUM_CELL_CHARACTERS = 160


def describe_outcome(project: Project, outcome: MaterialiseResult) -> dict[str, Any]:
    """Makes the metadata of a materialisation from its record and from the version's own files."""
    record = outcome.record
    return {"status": outcome.status, **describe_record(record), **_show_files(project, record)}


def describe_record(record: MaterialisationRecord) -> dict[str, Any]:
    """Makes the metadata that comes from the record alone."""
    metadata: dict[str, Any] = {
        "digest": record.output.digest,
        "dvc_md5": record.output.md5,
        "size_bytes": record.output.size,
        "record": record.record_id,
    }
    if record.reason is not None:
        metadata["reason"] = record.reason
    if record.overrides:
        metadata["overrides"] = [override.model_dump() for override in record.overrides]
    if record.rows is not None:
        metadata["dagster/row_count"] = record.rows
    metadata |= dict(sorted(record.counts.items()))
    metadata |= {name: value for name, value in sorted(record.figures.items()) if value is not None}
    return metadata


def _show_files(project: Project, record: MaterialisationRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    with work_folder(project) as work:
        view = work / "version"
        project.store.view(record.output.md5, view)
        for file in record.output.files:
            path = view / file.path
            if path.suffix == ".parquet":
                shown[f"sample of {path.stem}"] = _sample_table(path)
            elif path.suffix == ".png":
                image = base64.b64encode(path.read_bytes()).decode()
                shown[f"plot of {path.stem}"] = MetadataValue.md(
                    f"![{path.stem}](data:image/png;base64,{image})"
                )
            elif path.suffix == ".html":
                shown[path.stem] = MetadataValue.path(str(project.root / "data" / record.asset / file.path))
    return shown


def _sample_table(path: Path) -> MetadataValue[Any]:
    from pyarrow import parquet

    table = parquet.ParquetFile(path)
    rows = next(table.iter_batches(batch_size=_NUM_SAMPLE_ROWS), None)
    records = [] if rows is None else rows.to_pylist()
    return MetadataValue.table(
        records=[TableRecord({name: _cell(value) for name, value in row.items()}) for row in records],
        schema=TableSchema(
            columns=[TableColumn(name=field.name, type=str(field.type)) for field in table.schema_arrow]
        ),
    )


def _cell(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | int | float):
        return value
    text = "" if value is None else str(value)
    return text if len(text) <= _NUM_CELL_CHARACTERS else text[: _NUM_CELL_CHARACTERS - 1] + "…"
