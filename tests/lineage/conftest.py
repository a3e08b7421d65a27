"""Toy stages on a real store and a real ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import Store, init_store
from tests.lineage.audited_projects import audit, make_project
from tests.lineage.released_project import make_released
from tests.lineage.tiny_project import make_base
from tests.plain_stages import make_plain_stage
from tests.versioning.conftest import run_git


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound project with three assets and nine records; who tampers with it puts it right again."""
    root = tmp_path_factory.mktemp("audited") / "project"
    root.mkdir()
    make_project(root)
    assert audit(root).findings == ()
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """A copy of the template to spoil."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The store of a new project in git."""
    root = tmp_path / "project"
    root.mkdir()
    run_git(root, "init", "--quiet", "--initial-branch=main")
    return init_store(root)


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


class Keys:
    """Key pairs in a folder outside the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *, password: bytes | None = None, key: Any = None) -> tuple[Path, Path]:
        key = key or ec.generate_private_key(ec.SECP256R1())
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pub"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return private, public


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "keys").mkdir()
    return Keys(tmp_path / "keys")


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
            return StageResult(
                rows=1, counts={"num_read": len(read)}, metrics={"half": 0.5}, notes={"said": ["so"]}
            )

        check = Check(
            name="gate",
            description="",
            blocking=True,
            run=lambda _output, _inputs: CheckResult(passed=bool(gate)),
        )
        return make_plain_stage(
            name,
            compute,
            inputs=inputs,
            settings={"setting": setting},
            engine=("pyarrow",),
            checks=() if gate is None else (check,),
        )

    return make


@pytest.fixture
def run(project: Project) -> Callable[[Stage], MaterialiseResult]:
    return lambda stage: materialise(project, stage, progress=ignore_progress, run_id="run")
