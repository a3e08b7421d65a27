"""Toy stages on a real store and a real ledger."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import Outcome, materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store
from tests.lineage.released_project import make_released
from tests.lineage.tiny_project import make_base


@pytest.fixture
def project(tmp_path: Path) -> Project:
    init_store(tmp_path)
    return Project.open(tmp_path)


@pytest.fixture
def computed() -> list[str]:
    """Names of the stages that were computed, in order."""
    return []


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project, brought up to date; work on a copy."""
    return make_base(tmp_path_factory.mktemp("base") / "project")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a released policy; read it only, and work on a copy."""
    return make_released(tmp_path_factory.mktemp("released") / "project")


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(computed: list[str]) -> MakeStage:
    """Makes a stage whose output is its setting followed by what its inputs hold."""

    def make(
        name: str,
        setting: str = "",
        inputs: tuple[str, ...] = (),
        *,
        constant: bool = False,
        gate: bool | None = None,
    ) -> Stage:
        def compute(context: StageContext) -> StageResult:
            computed.append(name)
            read = [(context.inputs[parent] / "text").read_text() for parent in inputs]
            (context.output / "text").write_text("constant" if constant else " ".join([setting, *read]))
            return StageResult(rows=1, counts={"num_read": len(read)}, metrics={"half": 0.5})

        check = Check(
            name="gate",
            description="",
            blocking=True,
            run=lambda _output, _inputs: CheckResult(passed=bool(gate)),
        )
        return Stage(
            name=name,
            description="",
            kinds=(),
            code_version="1",
            inputs=inputs,
            settings={"setting": setting},
            engine=("pyarrow",),
            compute=compute,
            checks=() if gate is None else (check,),
        )

    return make


@pytest.fixture
def run(project: Project) -> Callable[[Stage], Outcome]:
    return lambda stage: materialise(project, stage, progress=ignore_progress, run_id="run")
