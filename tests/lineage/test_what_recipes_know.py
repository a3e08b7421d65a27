"""What a stage writes down follows from its recipe: its files, and the answers of its checks with what they required.

Every field of the settings is flipped, on a project that is made already. A stage whose recipe stays the same is asked
again: it has to write the same bytes and give the same answers, since the version that is there stands for both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.release import build_released_policy
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JudgeFile
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import make_recipe, materialise, run_checks
from rlaif_dagster.lineage.services import view_version
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.plain_stages import change

from .input_fields import Place, has_choice, propose_values, set_value, walk_fields
from .released_project import make_released

SETTINGS: Mapping[str, type[BaseModel]] = {
    "inputs/pipeline.yaml": PipelineSettings,
    "inputs/judge.yaml": JudgeFile,
}
REQUIRE = {"require": ["no_regression", "win_rate_over_half"]}
THRESHOLDS = {
    "EvaluationSettings.judge_checkpoints",
    "EvaluationSettings.no_regression",
    "GateSettings.beats_longer_wins",
    "GateSettings.max_injection_success",
    "GateSettings.max_unparsed_rate",
    "GateSettings.min_coverage",
    "GateSettings.min_ground_truth_agreement",
    "GateSettings.min_human_agreement",
    "GateSettings.min_order_agreement",
    "CanarySettings.max_changed",
}
"""The fields by which a check of this project answers otherwise, or says that something else was required."""
OTHER_VALUES: Mapping[str, list[Any]] = {"EvaluationSettings.no_regression": [["brief"]]}
WRITTEN = ("judgements", "judge_canary", "ai_preferences", RELEASED_POLICY)
"""The assets that are written again each time; all others run a model or draw plots, which takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A project that is up to date, with a folder for the newest version of each asset."""

    project: Project
    folders: Mapping[str, Path]
    scratch: Path

    def read_graph(self) -> Graph:
        return build_graph(self.project.read_inputs())

    def read_graph_with(self, file: str, content: Mapping[str, Any]) -> Graph:
        """The graph by another file; an empty one where that names what is not in this project."""
        path = self.project.root / file
        text = path.read_text()
        path.write_text(yaml.safe_dump(content))
        try:
            return self.read_graph()
        except InputError:
            return {}
        finally:
            path.write_text(text)

    def find_inputs(self, stage: Stage) -> dict[str, Path]:
        return {name: self.folders[name] for name in stage.inputs}

    def answer(self, stage: Stage) -> list[dict[str, Any]]:
        """What the record would say of the stage's checks; nothing of the policy's, whose table is not made up."""
        if stage.name == "aligned_policy":
            return []
        checks = run_checks(stage, self.folders[stage.name], self.find_inputs(stage))
        return [check.model_dump(mode="json") for check in checks]

    def write_again(self, stage: Stage, name: str) -> str:
        """The digest of what the stage writes, on the versions that are there."""
        heads = self.project.ledger.find_heads()
        folder = self.scratch / f"{name}-{stage.name}"
        for part in ("output", "scratch", "journal"):
            (folder / part).mkdir(parents=True)
        stage.compute(
            StageContext(
                inputs=self.find_inputs(stage),
                digests={parent: Digest.parse(heads[parent].output.digest) for parent in stage.inputs},
                output=folder / "output",
                scratch=folder / "scratch",
                journal=folder / "journal",
                attempt="",
                services=NoHistory(),
            )
        )
        return str(FolderManifest.from_folder(folder / "output").digest)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("known")
    project = make_released(folder / "project")
    edit_yaml(project.root / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(release=REQUIRE))
    stage = change(build_released_policy(project.read_inputs()), requires={})
    materialise(project, stage, progress=ignore_progress)
    folders = {name: folder / "versions" / name for name in project.ledger.find_heads()}
    for name, record in project.ledger.find_heads().items():
        view_version(project, record, folders[name])
    return Made(project=project, folders=folders, scratch=folder / "again")


def list_flips(project: Project) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each field of the project's settings once, with the file's content under another value."""
    seen: set[str] = set()
    for file, schema in SETTINGS.items():
        model = schema.model_validate(yaml.safe_load((project.root / file).read_text()))
        for place in walk_fields(file, model):
            for new in (
                OTHER_VALUES.get(place.field) or propose_values(place)
                if has_choice(place) and place.field not in seen
                else ()
            ):
                content = model.model_dump(mode="json")
                set_value(content, place.path, new)
                try:
                    is_other = schema.model_validate(content) != model
                except ValidationError:
                    continue
                if is_other:
                    seen.add(place.field)
                    yield place, content
                    break


@pytest.mark.slow
def test_equal_recipes_write_equal_bytes_and_equal_answers(made: Made) -> None:
    before = made.read_graph()
    heads = made.project.ledger.find_heads()
    answers = {name: made.answer(stage) for name, stage in before.items()}
    told: set[str] = set()
    for number, (place, content) in enumerate(list_flips(made.project)):
        for name, stage in made.read_graph_with(place.file, content).items():
            if name not in before or stage.inputs != before[name].inputs:
                continue
            is_same = make_recipe(stage, {}) == make_recipe(before[name], {})
            if made.answer(stage) != answers[name]:
                told.add(place.field)
                assert not is_same, f"{place.field} changes a check of {name}, and not its recipe"
            if is_same and name in WRITTEN:
                digest = made.write_again(stage, str(number))
                assert digest == heads[name].output.digest, (
                    f"{place.field} changes {name}, and not its recipe"
                )
    assert told == THRESHOLDS
