"""What an audit costs over hashing the same bytes, and how long it takes for a long history.

    python -m benchmarks.audit [--megabytes 1024] [--records 10000] [--repeats 3]

Two projects. The first has large files, in versions and in `data/`; the audit of it is set beside plain sha256 of
every file that the audit hashes, one after the other in one thread, with the same block size as hashlib's own. The
ratio is plain time over audit time: above 1 the audit is faster, since it hashes several files at once. Processor time
is told as well, which does not depend on that. The second project has small files and a long chain of records, every
other one by a recipe of its own. Audit and plain hashing take turns in one process, after one turn that is not counted.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.history import write_again
from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.auditing.findings import AuditReport
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store
from tests.plain_stages import make_plain_stage

_FILES_PER_VERSION = 4
_NUM_ASSETS = 13


def make_stage(name: str, *, num_bytes: int, seed: int, inputs: tuple[str, ...] = ()) -> Stage:
    """A stage whose output is a few files of random bytes."""

    def compute(context: StageContext) -> StageResult:
        random = np.random.default_rng(seed)
        for number in range(_FILES_PER_VERSION):
            (context.output / f"model-{number}.bin").write_bytes(
                random.bytes(num_bytes // _FILES_PER_VERSION)
            )
        return StageResult()

    return make_plain_stage(name, compute, inputs=inputs, settings={"seed": seed})


def make_large(root: Path, num_bytes: int) -> Project:
    """A project that holds so many bytes: three versions of one asset, and the newest in `data/` as well."""
    init_store(root)
    project = Project.open(root)
    for seed in range(3):
        materialise(
            project, make_stage("model", num_bytes=num_bytes // 4, seed=seed), progress=ignore_progress
        )
    return project


def make_long(root: Path, num_records: int) -> Project:
    """A project with a chain of so many records of a few small versions."""
    init_store(root)
    project = Project.open(root)
    names: list[str] = []
    for seed in range(_NUM_ASSETS):
        stage = make_stage(f"asset_{seed}", num_bytes=4096, seed=seed, inputs=tuple(names[-4:]))
        materialise(project, stage, progress=ignore_progress)
        names.append(stage.name)
    made = project.ledger.records()
    newest = made[-1]
    rounds = max(0, num_records - len(made)) // len(made)
    for number in range(rounds):
        for record in made:
            edit = number if (rounds - number) % 2 == 0 else None
            newest = write_again(project, record, after=newest, run_id="bench", edit=edit)
    return Project.open(root)


def audit(project: Project) -> AuditReport:
    """Audits a project opened anew.

    Raises:
        RuntimeError: If it has a finding.
    """
    report = audit_project(Project.open(project.root), target=None, events=None, progress=ignore_progress)
    if report.findings:
        raise RuntimeError(f"a sound project has findings: {report.findings[:3]}")
    return report


def list_hashed(root: Path) -> Iterator[Path]:
    """Yields every file that an audit hashes but the ledger's."""
    for place in (".dvc/cache/files/md5", "data"):
        yield from (path for path in sorted((root / place).rglob("*")) if path.is_file())


def hash_plainly(root: Path) -> None:
    """Hashes the same files with sha256, one after the other."""
    for path in list_hashed(root):
        Digest.from_file(path)


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of a call, in seconds."""
    started, before = time.perf_counter(), os.times()
    call()
    return time.perf_counter() - started, sum(os.times()[:2]) - sum(before[:2])


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        project = make_large(Path(folder), arguments.megabytes << 20)
        num_bytes = audit(project).num_bytes
        hash_plainly(project.root)
        table = Table(
            "repeat", "sha256, s", "computing, s", "audit, s", "computing, s", "ratio", "of computing"
        )
        ratios = []
        for repeat in range(1, arguments.repeats + 1):
            (plain, plain_cpu), (full, full_cpu) = (
                measure(lambda: hash_plainly(project.root)),
                measure(lambda: audit(project)),
            )
            ratios.append((plain / full, plain_cpu / full_cpu))
            values = (plain, plain_cpu, full, full_cpu, *ratios[-1])
            table.add_row(str(repeat), *(f"{value:.2f}" for value in values))
        console.print(table)
        wall, processor = (statistics.median(values) for values in zip(*ratios, strict=True))
        console.print(f"{num_bytes:,} bytes; ratio: median {wall:.2f}, of computing {processor:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        project = make_long(Path(folder), arguments.records)
        num_records = audit(project).num_records
        times = [measure(lambda: audit(project)) for _ in range(arguments.repeats)]
        wall, processor = (statistics.median(values) for values in zip(*times, strict=True))
        console.print(f"{num_records:,} records: {wall:.2f} s, {processor:.2f} s computing")


if __name__ == "__main__":
    main()
