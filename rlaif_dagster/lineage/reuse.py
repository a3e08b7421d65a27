"""Reuse or compute: the one way in which every asset is materialised.

1. The recipe is everything that decides the content: code version, settings, input digests, library versions.
2. If the ledger has a record of that recipe, and the store has its bytes, and they hash to the recorded digest, that
   version is taken: `reused`.
3. Otherwise the stage is computed on inputs read by digest, its output is stored and checked, and a record is
   appended: `computed`.

The record is appended before `data.dvc` and `data/` change: if a process dies in between, the next run reuses the
version.
"""

import datetime
import functools
import importlib.metadata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import MissingInputError, StorageError
from rlaif_dagster.former_names import CHECKS
from rlaif_dagster.graph.budgets import Budgets
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.judging.journal import mark_landed
from rlaif_dagster.lineage.curves import showing_curves
from rlaif_dagster.lineage.gates import find_overrides
from rlaif_dagster.lineage.ledger_index import identify_maker
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import (
    GitRef,
    MaterialisationRecord,
    Recipe,
    RecordedCheck,
    VersionRef,
    canonical_settings,
    describe_output,
    plain,
)
from rlaif_dagster.lineage.services import RunServices, view_version
from rlaif_dagster.lineage.upgrades import Former, find_former_recipes, stands
from rlaif_dagster.progress import Progress
from rlaif_dagster.versioning.git import read_git_state
from rlaif_dagster.versioning.scratch import (
    held_lock,
    raising_storage_errors,
    scratch_folder,
)

OPEN_ROWS = "num_open_rows"
"""The count, in a record, of rows that the next run tries again; left out if there are none."""

UNPARSED_ROWS = "num_unparsed_rows_of_"
"""The count of rows that the next run tries again if the settings say so; left out if there are none."""

MaterialiseStatus = Literal["computed", "reused"]
Clock = Callable[[], datetime.datetime]

DISTRIBUTION: Final = "rlaif-dagster"
"""The name of this package among the libraries in a record."""

NUMERICS_PREFIX: Final = "numerics."
"""The key of the numerics among the library versions in a recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialiseResult:
    """The result of one asset in one run."""

    asset: str
    status: MaterialiseStatus
    record: MaterialisationRecord


def utc_now() -> datetime.datetime:
    """The current time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def materialise(
    project: Project,
    stage: Stage,
    *,
    progress: Progress,
    run_id: str | None = None,
    clock: Clock = utc_now,
    again: bool = False,
    budgets: Budgets | None = None,
) -> MaterialiseResult:
    """Brings one asset up to date with its inputs.

    Args:
        project: The project.
        stage: The asset's stage.
        progress: Called with the stage's progress.
        run_id: Dagster's run.
        clock: Returns the current time.
        again: Compute even if the recipe's result is known; later runs reuse the newest result of a recipe.
        budgets: What the run may still spend on served judges; None for budgets that only this asset uses.

    Raises:
        MissingInputError: If an input was never materialised.
        GateError: If an input failed a required check.
        CorruptVersionError: If an input's stored bytes are not those recorded.
        StorageError: If the output cannot be stored.
        RlaifError: Whatever the stage itself raises.
    """
    project.store.remove_leftovers()
    parents = find_parents(project, stage)
    recipe = make_recipe(stage, {name: parent.output.digest for name, parent in parents.items()})
    reused = None if again else _reuse(project, stage, recipe)
    if reused is not None:
        record = _land_reused(project, stage, recipe, reused, parents=parents, run_id=run_id, clock=clock)
        return MaterialiseResult(asset=stage.name, status="reused", record=record)
    record = _compute(
        project,
        stage,
        parents=parents,
        recipe=recipe,
        progress=progress,
        run_id=run_id,
        clock=clock,
        budgets=budgets or Budgets(),
    )
    return MaterialiseResult(asset=stage.name, status="computed", record=record)


def confirm(project: Project, stage: Stage) -> MaterialisationRecord | None:
    """Confirms that an asset's newest version is up to date and nothing has to be recorded.

    Does what `materialise` does for such an asset: hashes the stored bytes and shows them in `data/`.

    Returns:
        The newest record; None if `materialise` has something to do.

    Raises:
        MissingInputError: If an input was never materialised.
        GateError: If an input failed a required check.
        StorageError: If the version cannot be shown.
    """
    parents = find_parents(project, stage)
    recipe = make_recipe(stage, {name: parent.output.digest for name, parent in parents.items()})
    head = project.ledger.find_head(stage.name)
    reused = next(find_reusable(project, stage, recipe, fetch=False), None)
    if head is None or reused is None or reused.output.digest != head.output.digest:
        return None
    if list_unasked(stage, reused):
        return None
    if _tell_apart(head) != _tell_apart(_want(reused, stage, recipe, parents)):
        return None
    if project.store.verify(head.output.md5, Digest.parse(head.output.digest)) is None:
        return None
    show_newest(project, stage.name, verified=head.output.md5)
    return head


def find_parents(project: Project, stage: Stage) -> dict[str, MaterialisationRecord]:
    """Finds the records of the versions that the stage reads, by input name.

    Raises:
        MissingInputError: If an input was never materialised.
        GateError: If an input failed a required check.
    """
    heads = project.ledger.find_heads()
    parents = {}
    for name in stage.inputs:
        head = heads.get(name)
        if head is None:
            raise MissingInputError(
                f"{stage.name} reads {name}, which has never been materialised.\n"
                f"  remedy: run `rlaif run {name}` first, or `rlaif run` for everything"
            )
        parents[name] = head
    find_overrides(stage, parents)
    return parents


def make_recipe(stage: Stage, inputs: Mapping[str, str]) -> Recipe:
    """Makes the recipe of a stage from the content digests of its inputs."""
    identity = stage.identity
    numerics = identity.numerics.model_dump() if identity.numerics else {}
    return Recipe(
        asset=identity.name,
        code_version=identity.code_version,
        settings=canonical_settings(identity.settings),
        inputs=dict(sorted(inputs.items())),
        engine={
            **{name: _read_version(name) for name in sorted(identity.engine)},
            **{f"{NUMERICS_PREFIX}{name}": str(value) for name, value in numerics.items()},
        },
    )


def find_own_release() -> str:
    """Returns the release of this package, as records name it."""
    return _read_version(DISTRIBUTION)


@functools.cache
def _read_version(library: str) -> str:
    """Reads the version of a library once per process."""
    return importlib.metadata.version(library)


def find_reusable(
    project: Project, stage: Stage, recipe: Recipe, *, fetch: bool = True
) -> Iterator[MaterialisationRecord]:
    """Yields the records whose versions may be reused for a recipe, newest first; their bytes are not checked yet.

    First come the records of the recipe itself, then those of the recipe as earlier releases wrote it.

    Args:
        project: The project.
        stage: The asset's stage, which says which rows are tried again.
        recipe: The recipe.
        fetch: Take files that must be checked from the DVC remote if they are not here.
    """
    for former in (Former(recipe=recipe), *find_former_recipes(recipe)):
        for record in project.ledger.find_recipe(former.recipe.digest):
            if count_retried(stage, record):
                return  # the newest version of this recipe has rows without a result, which are tried again
            if not former.steps or stands(project, former, record, fetch=fetch):
                yield record


def count_retried(stage: Stage, record: MaterialisationRecord) -> int:
    """Counts the rows of a version without a result that the next run tries again."""
    unparsed = (record.counts.get(UNPARSED_ROWS + name, 0) for name in stage.computing.retries_unparsed)
    return record.counts.get(OPEN_ROWS, 0) + sum(unparsed)


def list_unasked(stage: Stage, record: MaterialisationRecord) -> list[str]:
    """Lists the current checks of a stage that were never made on a version."""
    asked = {CHECKS.get(check.name, check.name) for check in record.checks}
    return [check.name for check in stage.governance.checks if check.name not in asked]


def _reuse(project: Project, stage: Stage, recipe: Recipe) -> MaterialisationRecord | None:
    for record in find_reusable(project, stage, recipe):
        if project.store.verify(record.output.md5, Digest.parse(record.output.digest)) is not None:
            return record
    return None


def _land_reused(
    project: Project,
    stage: Stage,
    recipe: Recipe,
    reused: MaterialisationRecord,
    *,
    parents: Mapping[str, MaterialisationRecord],
    run_id: str | None,
    clock: Clock,
) -> MaterialisationRecord:
    head = project.ledger.find_head(reused.asset)
    wanted = _want(reused, stage, recipe, parents)
    if unasked := list_unasked(stage, reused):
        verdicts = _ask_later(project, stage, reused, parents, unasked)
        wanted = wanted.model_copy(update={"checks": (*reused.checks, *verdicts)})
    if head is not None and _tell_apart(head) == _tell_apart(wanted):
        record = head
    else:
        now = clock()
        git = read_git_state(project.root)
        record = _append(
            project,
            stage,
            lambda sequence, previous: wanted.model_copy(
                update={
                    "sequence": sequence,
                    "previous": previous,
                    "inputs": _refer(parents),
                    "git": GitRef(commit=git.commit, dirty=git.dirty),
                    "run_id": run_id,
                    "started_at": now,
                    "ended_at": now,
                    "reused_from": reused.record_id,
                }
            ),
        )
    show_newest(project, record.asset, verified=reused.output.md5)
    return record


def _ask_later(
    project: Project,
    stage: Stage,
    reused: MaterialisationRecord,
    parents: Mapping[str, MaterialisationRecord],
    names: Collection[str],
) -> tuple[RecordedCheck, ...]:
    """Makes the checks on a version that did not exist when it was made."""
    with work_folder(project) as work:
        view_version(project, reused, work / "output")
        inputs = {name: work / "inputs" / name for name in parents}
        for name, parent in parents.items():
            view_version(project, parent, inputs[name])
        return tuple(run_checks(stage, work / "output", inputs, names))


def _want(
    reused: MaterialisationRecord,
    stage: Stage,
    recipe: Recipe,
    parents: Mapping[str, MaterialisationRecord],
) -> MaterialisationRecord:
    return reused.model_copy(
        update={
            "recipe": str(recipe.digest),
            "recipe_parts": recipe,
            "former_recipe": None if reused.made_by == str(recipe.digest) else reused.made_by,
            "overrides": find_overrides(stage, parents),
            "reason": stage.governance.reason,
        }
    )


def _tell_apart(record: MaterialisationRecord) -> tuple[object, ...]:
    """The parts of a record that justify a new record of the version that is already the newest."""
    checks = frozenset(check.name for check in record.checks)
    return record.recipe, record.output.digest, checks, record.overrides, record.reason


def _append(
    project: Project, stage: Stage, make_record: Callable[[int, tuple[str, ...]], MaterialisationRecord]
) -> MaterialisationRecord:
    def confirm_and_make(sequence: int, previous: tuple[str, ...]) -> MaterialisationRecord:
        stage.governance.confirm()  # while the ledger is locked, so that another decision comes after this record
        return make_record(sequence, previous)

    return project.ledger.append(confirm_and_make)


def _compute(
    project: Project,
    stage: Stage,
    *,
    parents: Mapping[str, MaterialisationRecord],
    recipe: Recipe,
    progress: Progress,
    run_id: str | None,
    clock: Clock,
    budgets: Budgets,
) -> MaterialisationRecord:
    started_at = clock()
    git = read_git_state(project.root)
    with work_folder(project) as work:
        inputs = {name: work / "inputs" / name for name in parents}
        for name, parent in parents.items():
            view_version(project, parent, inputs[name])
        output = work / "output"
        scratch = work / "scratch"
        output.mkdir()
        scratch.mkdir()
        journal = find_journal(project, recipe)
        context = StageContext(
            inputs=inputs,
            digests={name: Digest.parse(parent.output.digest) for name, parent in parents.items()},
            output=output,
            scratch=scratch,
            journal=journal,
            attempt=work.name,
            services=RunServices(
                project=project, stage=stage, recipe=recipe, work=work, progress=progress, budgets=budgets
            ),
        )
        with showing_curves(project, stage.name, started_at):
            result = _run_stage(stage, context)
        checks = tuple(run_checks(stage, output, inputs))
        version = project.store.add(stage.name, output, move=True)
    record = _append(
        project,
        stage,
        lambda sequence, previous: MaterialisationRecord(
            sequence=sequence,
            previous=previous,
            asset=stage.name,
            recipe=str(recipe.digest),
            recipe_parts=recipe,
            inputs=_refer(parents),
            output=describe_output(version.manifest, version.md5),
            rows=result.rows,
            counts={
                **result.counts,
                **({OPEN_ROWS: result.num_open} if result.num_open else {}),
                **{UNPARSED_ROWS + name: count for name, count in sorted(result.num_unparsed.items())},
            },
            metrics=plain({**result.metrics, **result.notes}),
            checks=checks,
            libraries=_read_libraries(),
            git=GitRef(commit=git.commit, dirty=git.dirty),
            run_id=run_id,
            started_at=started_at,
            ended_at=clock(),
            reused_from=None,
            overrides=find_overrides(stage, parents),
            reason=stage.governance.reason,
        ),
    )
    mark_landed(journal, work.name)
    show_newest(project, record.asset, verified=version.md5)
    return record


def find_journal(project: Project, recipe: Recipe) -> Path:
    """Finds the folder in which work on an asset survives a crash; rows made by other code are not reused."""
    return project.scratch / "journal" / f"{recipe.asset.replace('/', '.')}-{identify_maker(recipe)[:12]}"


def _run_stage(stage: Stage, context: StageContext) -> StageResult:
    try:
        return stage.compute(context)
    except OSError as error:
        raise StorageError(
            f"{stage.name}: its output cannot be written ({error.strerror or error}); nothing was changed.\n"
            "  remedy: free disk space or correct the permissions, then run again"
        ) from error


def run_checks(
    stage: Stage, output: Path, inputs: Mapping[str, Path], names: Collection[str] | None = None
) -> Iterator[RecordedCheck]:
    """Makes a stage's checks, or only those with some names, on an output."""
    for check in stage.governance.checks:
        if names is not None and check.name not in names:
            continue
        result = check.ask(output, inputs)
        yield RecordedCheck(
            name=check.name, passed=result.passed, blocking=check.blocking, facts=plain(result.facts)
        )


def show_newest(project: Project, asset: str, *, verified: str | None = None) -> None:
    """Updates `data.dvc` and `data/<asset>` to the newest record.

    If runs overlap, the last one shows the newest record, even if another run wrote it. `verified` is the address of a
    version whose bytes have just been hashed.
    """
    lock_path = project.scratch / "locks" / f"show-{asset.replace('/', '%')}.lock"
    with raising_storage_errors(lock_path), held_lock(lock_path):
        heads = project.ledger.find_heads()
        output = heads[asset].output
        project.store.pin(asset, output.md5, known={name: head.output.md5 for name, head in heads.items()})
        project.store.publish(asset, output.md5, Digest.parse(output.digest), verified=output.md5 == verified)


def _refer(parents: Mapping[str, MaterialisationRecord]) -> dict[str, VersionRef]:
    return {
        name: VersionRef(digest=parent.output.digest, md5=parent.output.md5)
        for name, parent in parents.items()
    }


def _read_libraries() -> dict[str, str]:
    """Reads the versions of this package and of its requirements."""
    names = [Requirement(text).name for text in importlib.metadata.requires(DISTRIBUTION) or []]
    versions = {}
    for name in [DISTRIBUTION, *names]:
        with suppress(importlib.metadata.PackageNotFoundError):  # an extra that is not installed
            versions[name] = _read_version(name)
    return versions


@contextmanager
def work_folder(project: Project) -> Iterator[Path]:
    """Makes a folder for one computation and removes it afterwards; removes folders of dead processes first.

    Raises:
        StorageError: If it cannot be made.
    """
    parent = project.scratch / "work"
    with ExitStack() as stack:
        with raising_storage_errors(parent):
            folder = stack.enter_context(scratch_folder(parent))
        yield folder
