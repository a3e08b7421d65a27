"""Writes people's decisions to input files: the held release, and overrides of failed checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel

from rlaif_dagster.errors import InputError, MissingInputError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.inputs.overrides import OVERRIDES_FILE, Override, OverridesFile, read_overrides
from rlaif_dagster.inputs.release import RELEASE_FILE, Hold, HoldSettings, ReleaseFile
from rlaif_dagster.lineage.gates import find_override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.removal import remove_file
from rlaif_dagster.versioning.links import refuse_tracked_link
from rlaif_dagster.versioning.scratch import held_lock, raising_storage_errors, write_whole

_HOLD_COMMENT: Final = "The release that stays. Written by `rlaif rollback`, removed by `rlaif release`."
_OVERRIDES_COMMENT: Final = (
    "Failed checks that a person lets pass. Added by `rlaif override`; delete an entry to withdraw it."
)


def make_hold(project: Project, release: str, reason: str) -> Hold:
    """Makes a hold; does not write it yet."""
    return Hold(file=project.root / RELEASE_FILE, settings=HoldSettings(release=release, reason=reason))


def write_hold(project: Project, hold: Hold) -> None:
    """Writes a hold to `inputs/release.yaml`.

    Raises:
        StorageError: If it cannot be written; then it is unchanged.
    """
    with _editing(project, hold.file):
        if hold.settings is None:
            remove_file(hold.file)
        else:
            _write_yaml(project, hold.file, ReleaseFile(hold=hold.settings), comment=_HOLD_COMMENT)


def add_override(project: Project, graph: Graph, asset: str, check: str, reason: str) -> Override:
    """Lets an asset's newest version pass a failed check: adds an override to `inputs/overrides.yaml`.

    Raises:
        InputError: If there is no such asset or check, or the check did not fail.
        MissingInputError: If the asset was never materialised.
        StorageError: If the file cannot be written; then it is unchanged.
    """
    if asset not in graph:
        raise InputError(
            f"there is no asset {asset!r}", file=project.root, remedy=f"name one of {', '.join(graph)}"
        )
    head = project.ledger.find_head(asset)
    if head is None:
        raise MissingInputError(
            f"{asset} has never been materialised, so it failed no check.\n  remedy: run `rlaif run {asset}`"
        )
    _require_gate(project, graph, head, check)
    override = Override(asset=asset, digest=head.output.digest, check=check, reason=reason)
    file = project.root / OVERRIDES_FILE
    with _editing(project, file):
        standing = read_overrides(project.root)
        known = find_override(standing, *override.key)
        if known is not None:
            raise InputError(
                f"{asset} {head.output.digest} already has an override of {check}: {known.reason}",
                file=file,
                field="overrides",
                remedy="nothing to do; to give another reason, edit the file",
            )
        _write_yaml(project, file, OverridesFile(overrides=[*standing, override]), comment=_OVERRIDES_COMMENT)
    return override


def _require_gate(project: Project, graph: Graph, head: MaterialisationRecord, check: str) -> None:
    """Refuses a check that does not exist, that passed, or whose failure stops nothing."""
    verdicts = {verdict.name: verdict for verdict in head.checks}
    readers = [
        stage.name for stage in graph.values() if check in stage.governance.requires.get(head.asset, ())
    ]
    if check not in verdicts and not readers:
        problem = f"{head.asset} has no check {check!r}"
        remedy = f"name one of {', '.join(verdicts)}" if verdicts else "this asset has no checks"
    elif check in verdicts and verdicts[check].passed:
        problem = f"the check {check} of {head.asset} {head.output.digest} passed"
        remedy = "nothing to do"
    elif check in verdicts and not verdicts[check].blocking and not readers:
        problem = f"the check {check} of {head.asset} is neither blocking nor required, so it stops nothing"
        remedy = "nothing to do"
    else:
        return
    raise InputError(problem, file=project.root, remedy=remedy)


@contextmanager
def _editing(project: Project, file: Path) -> Iterator[None]:
    """Locks these files, so that one command at a time reads and writes them."""
    refuse_tracked_link(file.parent, project.root)
    with raising_storage_errors(file), held_lock(project.scratch / "locks" / "inputs.lock"):
        yield


def _write_yaml(project: Project, file: Path, value: BaseModel, *, comment: str) -> None:
    """Replaces a file in one step."""
    text = yaml.safe_dump(value.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    write_whole(file, f"# {comment}\n{text}".encode(), scratch=project.scratch / "scratch")
