"""Tells Dagster about runs whose process died."""

from dagster import DagsterInstance

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.running import bury_dead_runs

_MESSAGE = (
    "The process of this run ended without notice: it was killed, or the machine went down. Finished work is kept, and "
    "the next run continues from there."
)


def report_dead_runs(instance: DagsterInstance, project: Project) -> None:
    """Reports runs as failed that Dagster shows as in progress although their process is dead.

    Dagster's own monitoring cannot do this: its default launcher does not say whether a run is alive, and a command-
    line run has no launcher.

    Raises:
        StorageError: If the locks of runs cannot be read.
    """

    def report(run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, _MESSAGE)

    bury_dead_runs(project, report)
