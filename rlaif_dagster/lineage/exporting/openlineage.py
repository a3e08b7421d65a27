"""OpenLineage: one run event for each materialisation, one per line.

Specification: https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

import datetime
from typing import TYPE_CHECKING, Any

from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.exporting.closure import VersionLineage, derive_uuid, name_producer
from rlaif_dagster.lineage.record import MaterialisationRecord, RecordedCheck

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Job, Run, RunEvent

OPENLINEAGE_NAMESPACE = "rlaif_dagster"
"""The namespace of jobs and datasets; both have the asset's name."""


def export_openlineage(lineage: VersionLineage) -> str:
    """Writes the events, sources first.

    Raises:
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from openlineage.client.serde import Serde

    return "".join(f"{Serde.to_json(make_complete_event(record))}\n" for record in lineage.records)


def make_complete_event(
    record: MaterialisationRecord,
    *,
    namespace: str = OPENLINEAGE_NAMESPACE,
    run_id: str | None = None,
    when: datetime.datetime | None = None,
) -> "RunEvent":
    """Makes the event of a finished materialisation, with the versions that it read and made.

    Args:
        record: The record of the materialisation.
        namespace: The namespace of jobs and datasets.
        run_id: The run to report it for; the record's own if None.
        when: When it ended; the record's time if None.
    """
    with using_extra(STANDARDS):
        from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent, RunState
        from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset
        from openlineage.client.generated.base import DatasetFacet, RunFacet
        from openlineage.client.generated.test_run import TestRunFacet

    producer = name_producer(record)

    def tell_version(digest: str) -> Any:
        return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest, producer=producer)

    files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in record.output.files]
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=record.rows, size=record.output.size, fileCount=len(files), producer=producer
    )
    run_facets: dict[str, Any] = {
        "rlaif_record": RunFacet(producer=producer).with_additional_properties(
            recordId=record.record_id, recipe=record.recipe, codeVersion=record.recipe_parts.code_version
        )
    }
    output_facets: dict[str, Any] = {
        "version": tell_version(record.output.digest),
        "rlaif_files": DatasetFacet(producer=producer).with_additional_properties(files=files),
    }
    if record.checks:
        run_facets["test"] = TestRunFacet(tests=[_tell_check(check) for check in record.checks])
    return RunEvent(
        eventTime=(when or record.ended_at).isoformat(),
        eventType=RunState.COMPLETE,
        producer=producer,
        run=make_run(run_id or record.run_id or record.record_id, record.asset, facets=run_facets),
        job=make_job(record.asset, namespace=namespace, producer=producer),
        inputs=[
            InputDataset(namespace=namespace, name=name, facets={"version": tell_version(ref.digest)})
            for name, ref in sorted(record.inputs.items())
        ],
        outputs=[
            OutputDataset(
                namespace=namespace,
                name=record.asset,
                facets=output_facets,
                outputFacets={"outputStatistics": statistics},
            )
        ],
    )


def make_open_event(
    asset: str,
    run_id: str,
    *,
    state: str,
    when: datetime.datetime,
    namespace: str,
    producer: str,
) -> "RunEvent":
    """Makes the event of a materialisation that has begun (`START`) or failed (`FAIL`), without a version."""
    with using_extra(STANDARDS):
        from openlineage.client.event_v2 import RunEvent, RunState

    return RunEvent(
        eventTime=when.isoformat(),
        eventType=RunState[state],
        producer=producer,
        run=make_run(run_id, asset),
        job=make_job(asset, namespace=namespace, producer=producer),
    )


def make_run(run_id: str, asset: str, *, facets: dict[str, Any] | None = None) -> "Run":
    """Makes the run of one asset."""
    from openlineage.client.event_v2 import Run

    return Run(runId=derive_uuid(run_id, asset), facets=facets or {})


def make_job(asset: str, *, namespace: str, producer: str) -> "Job":
    """Makes the job of an asset."""
    from openlineage.client.event_v2 import Job
    from openlineage.client.facet_v2 import job_type_job

    kind = job_type_job.JobTypeJobFacet(
        processingType="BATCH", integration="RLAIF_DAGSTER", jobType="ASSET", producer=producer
    )
    return Job(namespace=namespace, name=asset, facets={"jobType": kind})


def _tell_check(check: RecordedCheck) -> Any:
    from openlineage.client.generated.test_run import TestExecution

    return TestExecution(
        name=check.name,
        status="pass" if check.passed else "fail",
        severity="error" if check.blocking else "warn",
    )
