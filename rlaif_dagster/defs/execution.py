"""Runs assets in this process, as a Dagster run that the UI shows later."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from alembic.util.exc import CommandError
from dagster import (
    AssetKey,
    DagsterExecutionInterruptedError,
    DagsterInstance,
)
from dagster._core.errors import DagsterAssetCheckFailedError
from filelock import FileLock
from sqlalchemy.exc import SQLAlchemyError

from rlaif_dagster.defs.build import CANARY_JOB, MAIN_JOB, build_definitions
from rlaif_dagster.defs.runs import report_dead_runs
from rlaif_dagster.defs.storage import (
    INSTANCE_SETTINGS,
    REMEDY,
    SETTINGS_FILE,
    is_elsewhere,
    refuse_foreign_settings,
    word_error,
)
from rlaif_dagster.errors import GateError, InputError, StorageError
from rlaif_dagster.graph.build import Graph, with_ancestors
from rlaif_dagster.lineage.gates import list_failed
from rlaif_dagster.lineage.project import PROJECT_VARIABLE, Project
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.lineage.told import find_dagster_home, note_told
from rlaif_dagster.processes import silenced
from rlaif_dagster.progress import RunProgress

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def prepare_dagster_home(project: Project) -> Path:
    """Makes the project's Dagster folder the one in use, unless `DAGSTER_HOME` names another.

    Dagster's databases are made under our own lock: two processes that make them at once would damage them.

    Raises:
        StorageError: If the folder or the databases cannot be written, the configured storage cannot be opened, or the
            settings came with a clone.
    """
    home = find_dagster_home(project)
    if home == project.dagster_home:
        refuse_foreign_settings(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".rlaif.lock"):
            settings = home / SETTINGS_FILE
            if not settings.exists():
                unfinished = settings.with_suffix(".tmp")
                unfinished.write_text(INSTANCE_SETTINGS)
                unfinished.replace(settings)
            os.environ["DAGSTER_HOME"] = str(home)
            os.environ[PROJECT_VARIABLE] = str(project.root)
            with DagsterInstance.get() as instance:
                instance.get_runs(limit=1)
                instance.all_asset_keys()
                instance.all_instigator_state()
    # Databases, drivers, settings, Dagster and SQLAlchemy each raise their own errors.
    except Exception as error:
        raise _explain_database(home, error) from error
    return home


def run_assets(
    project: Project,
    graph: Graph,
    assets: Sequence[str],
    *,
    progress: RunProgress,
    with_upstream: bool = True,
) -> dict[str, str]:
    """Brings assets up to date, in one Dagster run in this process.

    Args:
        project: The project.
        graph: Its graph.
        assets: Names; all assets if empty.
        progress: Called with the asset in progress and its progress; nothing else is printed.
        with_upstream: Whether everything upstream of them is brought up to date first.

    Returns:
        For each asset, upstream first, whether it was "computed" or "reused".

    Raises:
        InputError: If an asset does not exist.
        GateError: If a blocking check failed; nothing was built on the asset.
        StorageError: If Dagster's database cannot be written.
        KeyboardInterrupt: If the user stopped it.
        RlaifError: Whatever a stage raises.
    """
    unknown = sorted(set(assets) - set(graph))
    if unknown:
        raise InputError(
            f"there is no asset {unknown[0]!r}",
            file=project.root,
            remedy=f"name one of {', '.join(graph)}",
        )
    selected = with_ancestors(graph, assets) if with_upstream else assets
    return _execute(
        project, graph, MAIN_JOB, [AssetKey.from_user_string(name) for name in selected], progress
    )


def run_canary(project: Project, graph: Graph, *, progress: RunProgress) -> None:
    """Asks the judge of the newest judgements the canary's questions again, in one Dagster run in this process.

    Raises:
        GateError: If the judge has changed.
        StorageError: If Dagster's database cannot be written.
        RlaifError: Whatever the stage raises.
    """
    _execute(project, graph, CANARY_JOB, None, progress)


def _execute(
    project: Project, graph: Graph, job: str, selection: Sequence[AssetKey] | None, progress: RunProgress
) -> dict[str, str]:
    home = prepare_dagster_home(project)
    definitions = build_definitions(project.root, graph=graph, progress=progress)
    try:
        run_id = str(uuid.uuid4())
        # Dagster repeats on stdout what it captures for the UI, and prints its own text if interrupted.
        with DagsterInstance.get() as instance, hold_run(project, run_id), silenced():
            report_dead_runs(instance, project)
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance, asset_selection=selection, run_config=_QUIET, run_id=run_id
            )
    except DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except DagsterAssetCheckFailedError as error:
        raise _explain_gate(project, graph) from error
    except (SQLAlchemyError, CommandError) as error:
        raise _explain_database(home, error) from error
    statuses: dict[str, str] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        statuses[materialization.asset_key.to_user_string()] = str(materialization.metadata["status"].value)
    heads = project.ledger.find_heads()
    note_told(project, home, [heads[name] for name in statuses])
    return statuses


def _explain_database(home: Path, error: Exception) -> StorageError:
    remedy = (
        REMEDY
        if is_elsewhere(home)
        else "free disk space or correct the permissions, then run again; if the databases are damaged, move the "
        "folder away (versions and ledger are not in it)"
    )
    return StorageError(
        f"{home}: Dagster's record of runs cannot be read or written ({word_error(error)}).\n  remedy: {remedy}"
    )


def _explain_gate(project: Project, graph: Graph) -> GateError:
    heads = project.ledger.find_heads()
    failed = [
        f"{name}: the blocking check {check.name} failed, {dict(sorted(check.facts.items()))}"
        for name in graph
        if name in heads
        for check in list_failed(graph[name], heads[name].output.digest, heads[name].checks)
        if check.blocking
    ]
    return GateError(
        "\n".join(failed) + "\n  The version is kept, but nothing is built on it."
        "\n  remedy: look at the asset with `rlaif status` and in the UI, correct the inputs, and run again; or, on "
        "your own responsibility, let this version pass: `rlaif override ASSET CHECK --reason TEXT`"
    )
