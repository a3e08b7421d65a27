"""The projects that version 0.1.0 made, and what tests do with them."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlaif_dagster.lineage import reuse
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.progress import ignore_progress

HERE = Path(__file__).parent
RELEASE = "99.0"
"""What this release is called in tests: any other than 0.1.0."""


def unpack(name: str, folder: Path) -> Path:
    """A project as 0.1.0 left it, in a new folder."""
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "project"


@contextmanager
def with_libraries_of(root: Path, **others: str) -> Iterator[None]:
    """Only this package was upgraded: libraries have the versions that the project's records name, or others."""
    known = {
        name: version
        for head in Project.open(root).ledger.find_heads().values()
        for name, version in {**head.libraries, **head.recipe_parts.engine}.items()
    }
    versions = {**known, reuse.DISTRIBUTION: RELEASE, **others}
    real = reuse._read_version
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "_read_version", lambda name: versions.get(name) or real(name))
        yield


def bring_up_to_date(root: Path) -> dict[str, MaterialiseResult]:
    """Does what `rlaif run` does, in this process and without Dagster."""
    project = Project.open(root)
    graph = project.build_graph()
    return {name: materialise(project, stage, progress=ignore_progress) for name, stage in graph.items()}
