"""Runs whose process died: Dagster is told that they are over."""

from dagster import DagsterInstance

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.running import bury_dead_runs

_MESSAGE = (
    "The process of this run ended without a word: it was killed, or the machine went down. What it had finished is "
    "kept, and the next run goes on from there."
)


def report_dead_runs(instance: DagsterInstance, project: Project) -> None:
    """Reports the runs on a project that Dagster shows as at work, and whose process is dead, as failed.

    Dagster's own monitoring cannot: its default launcher does not say whether a run is alive, and a run of the command
    line has no launcher.

    Raises:
        StorageError: If the locks of runs cannot be looked at.
    """

    def report(run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, _MESSAGE)

    bury_dead_runs(project, report)
