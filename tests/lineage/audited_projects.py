"""Small real projects to audit: toy stages on a real store and a real ledger, and snapshots of every file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.auditing.events import EventLog
from rlaif_dagster.lineage.auditing.findings import AuditReport, Finding
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store
from tests.plain_stages import make_plain_stage

Write = Callable[[Path], object]


def make_stage(
    name: str, write: Write, *, setting: str = "", inputs: Iterable[str] = (), **more: Any
) -> Stage:
    """A stage that writes what a function writes; everything else is as plain as it can be."""

    def compute(context: StageContext) -> StageResult:
        write(context.output)
        return StageResult(rows=more.get("rows"))

    checks = more.get("checks", ())
    return make_plain_stage(name, compute, inputs=inputs, settings={"setting": setting}, checks=checks)


def make_text_stage(name: str, text: str, inputs: Iterable[str] = ()) -> Stage:
    """A stage whose output is two files, one in a folder, that hold its setting."""

    def write(folder: Path) -> None:
        (folder / "text").write_text(f"{name}: {text}")
        (folder / "more").mkdir()
        (folder / "more" / "bytes").write_bytes(f"{name}, once more: {text}".encode() * 3)

    return make_stage(name, write, setting=text, inputs=inputs)


def run(project: Project, stage: Stage, run_id: str | None = None) -> MaterialiseResult:
    return materialise(project, stage, progress=ignore_progress, run_id=run_id)


def make_project(root: Path) -> Project:
    """Three assets, the third below another folder; nine records: new, the same bytes by another recipe, reused."""
    init_store(root)
    project = Project.open(root)
    for text in ("x", "y", "x"):
        run(project, make_text_stage("a", text))
        run(project, make_text_stage("b", "", ("a",)))
        run(project, make_text_stage("round_2/c", text, ("a", "b")))
    return project


def audit(
    root: Path,
    target: str | None = None,
    events: EventLog | None = None,
    keys: Sequence[Path] = (),
    *,
    remote: bool = False,
) -> AuditReport:
    """Audits a project that is opened anew, so that nothing is remembered; no file of it changes."""
    before = snapshot(root)
    try:
        project = Project.open(root, uses_remote=remote)
        return audit_project(project, target=target, events=events, keys=keys, progress=ignore_progress)
    finally:
        assert snapshot(root) == before


def name_findings(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in findings]


def snapshot(root: Path) -> Mapping[str, tuple[object, ...]]:
    """Every path of a folder with its bytes, mode and time of change."""
    taken: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else None
        taken[path.relative_to(root).as_posix()] = (data, status.st_mode, status.st_mtime_ns)
    return taken


def list_files(root: Path, *places: str) -> list[Path]:
    """The files of a project below some of its folders, sorted."""
    return sorted(
        path for place in places for path in [root / place, *(root / place).rglob("*")] if path.is_file()
    )


STORE = ".dvc/cache/files/md5"
