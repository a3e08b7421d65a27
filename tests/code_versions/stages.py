"""The stages whose code is watched, and where the code of each begins."""

from dataclasses import dataclass, replace

from rlaif_dagster.graph.build import BUILDERS
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, CriticSource, ProjectInputs
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.revising.settings import RevisionSettings
from tests.code_versions.reach import reach
from tests.code_versions.source import Key, Source
from tests.conftest import REPOSITORY

PACKAGE = "rlaif_dagster"
IGNORED = tuple(f"{PACKAGE}.{name}" for name in ("errors", "progress", "graph.changes", "graph.price"))
"""What stages reach and what cannot change their output."""


@dataclass(frozen=True, slots=True)
class StageCode:
    """The code of a stage as it is now: its version, and the digest of each definition that it reaches."""

    code_version: str
    definitions: dict[Key, str]


def read_inputs_with_everything() -> ProjectInputs:
    """The default inputs with each optional stage switched on."""
    inputs = ProjectInputs.read(TEMPLATE_ROOT)
    critic = {"provider": "local", "model": "base_policy", "verdict": "text"}
    revision = RevisionSettings.model_validate({"critic": critic})
    return replace(
        inputs,
        pipeline=inputs.pipeline.model_copy(update={"revision": revision}),
        critic=CriticSource.find(TEMPLATE_ROOT, revision, file=TEMPLATE_ROOT / PIPELINE_FILE),
        evaluation_judge=inputs.judges[0],
    )


def read_stages() -> dict[str, StageCode]:
    """Follows the code of each stage from its builder on."""
    inputs = read_inputs_with_everything()
    source = Source(REPOSITORY, PACKAGE)
    stages = {}
    for build in BUILDERS:
        stage = build(inputs)
        definitions = reach(source, (build.__module__, build.__name__), IGNORED)
        stages[stage.name] = StageCode(stage.identity.code_version, definitions)
    return stages
