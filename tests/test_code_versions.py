"""A stage's code cannot change in silence: its `code_version` is part of the recipe by which results are recalled.

`code_versions.json` holds, for each stage, the code version and the fingerprint of all code that it reaches. When
this test fails, either raise the stage's `code_version` (the same inputs now give other bytes), or leave it (they do
not), and in both cases acknowledge it:  python -m tests.test_code_versions
"""

import json
from dataclasses import replace
from pathlib import Path

from rlaif_dagster.graph.build import BUILDERS
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, CriticSource, ProjectInputs
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.revising.settings import RevisionSettings
from tests.source_fingerprint import fingerprint

RECORDED = Path(__file__).with_name("code_versions.json")


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


def read_versions() -> dict[str, dict[str, str]]:
    inputs = read_inputs_with_everything()
    versions = {}
    for build in BUILDERS:
        stage = build(inputs)
        versions[stage.name] = {
            "code_version": stage.identity.code_version,
            "fingerprint": fingerprint(build.__module__, build.__name__),
        }
    return versions


def test_every_change_of_a_stages_code_is_acknowledged() -> None:
    recorded = json.loads(RECORDED.read_text())
    changed = [name for name, version in read_versions().items() if recorded.get(name) != version]
    assert not changed, (
        f"the code of {', '.join(changed)} changed: raise `code_version` where the same inputs now give other bytes, "
        "then acknowledge with `python -m tests.test_code_versions`"
    )


def test_the_fingerprint_reaches_the_code_that_matters() -> None:
    """A stage's fingerprint differs from another's, and covers functions in other rooms."""
    versions = read_versions()
    assert len({version["fingerprint"] for version in versions.values()}) == len(versions)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(read_versions(), indent=2) + "\n")
