"""The graph as Dagster sees it; a change of it shows here."""

import json
from pathlib import Path

import pytest
from dagster import AssetKey, AssetSelection, DefaultScheduleStatus, Definitions

from rlaif_dagster.defs.assets import AGAIN_TAG
from rlaif_dagster.defs.build import CANARY_JOB, MAIN_JOB, build_definitions
from rlaif_dagster.defs.provenance import RECIPES
from rlaif_dagster.names import JUDGE_CANARY
from tests.docs.pages import read_page

SNAPSHOT = Path(__file__).with_name("asset_specs.json")


@pytest.fixture
def definitions(default_project: Path) -> Definitions:
    return build_definitions(default_project)


def describe(definitions: Definitions) -> dict[str, object]:
    graph = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "kinds": sorted(graph.get(key).kinds),
            "code_version": graph.get(key).code_version,
            "checks": sorted(check.name for check in graph.get_check_keys_for_assets({key})),
        }
        for key in sorted(graph.get_all_asset_keys())
    }


def test_the_asset_specs_are_as_recorded(definitions: Definitions) -> None:
    """After a wanted change: python -m tests.defs.test_definitions"""
    assert describe(definitions) == json.loads(SNAPSHOT.read_text())


def test_the_definitions_load_and_the_main_job_has_every_asset(definitions: Definitions) -> None:
    Definitions.validate_loadable(definitions)
    job = definitions.resolve_job_def(MAIN_JOB)
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(
        describe(definitions)
    ) - {"recipes"}


def test_a_selection_as_text_takes_what_the_docs_say(definitions: Definitions) -> None:
    """The star takes all that an asset is made from, the plus one layer."""
    graph = definitions.resolve_asset_graph()
    asset = AssetKey("ai_preferences")
    taken = {mark: AssetSelection.from_string(f"{mark}ai_preferences").resolve(graph) for mark in "*+"}
    assert taken["*"] == {asset, *graph.get_ancestor_asset_keys(asset)} - {RECIPES}
    assert taken["+"] == {asset, *graph.get(asset).parent_keys} - {RECIPES} != taken["*"]
    page = read_page("operating.md")
    assert (
        "`*ai_preferences` is the asset and everything upstream of it; `+ai_preferences` is one layer" in page
    )


def test_the_canarys_schedule_is_off_and_its_job_asks_again(definitions: Definitions) -> None:
    schedule = definitions.resolve_schedule_def("canary")
    assert schedule.default_status == DefaultScheduleStatus.STOPPED
    job = definitions.resolve_job_def(CANARY_JOB)
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == {JUDGE_CANARY}
    assert job.tags[AGAIN_TAG] == JUDGE_CANARY


def test_wrong_inputs_show_the_default_graph(default_project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (default_project / "inputs" / "constitution.yaml").write_text("principles: []\n")
    shown = describe(build_definitions(default_project))
    assert shown == json.loads(SNAPSHOT.read_text())
    assert "the constitution is empty" in caplog.text


def test_recorded_responses_are_not_sampled_from_the_policy(default_project: Path) -> None:
    responses = default_project / "inputs" / "responses.jsonl"
    responses.write_text('{"prompt": "a", "source": "x", "text": "y"}\n')
    pipeline = default_project / "inputs" / "pipeline.yaml"
    text = pipeline.read_text()
    start, end = text.index("sampling:"), text.index("pairing:")
    pipeline.write_text(
        text[:start] + "sampling: {provider: recorded, responses: inputs/responses.jsonl}\n" + text[end:]
    )
    shown = build_definitions(default_project).resolve_asset_graph().get(AssetKey("sampled_responses"))
    assert shown.parent_keys == {AssetKey("prompts"), AssetKey("recipes")}


def test_text_selections_work_with_the_antlr4_that_is_installed(definitions: Definitions) -> None:
    selection = AssetSelection.from_coercible("sampled_responses*")
    found = selection.resolve(definitions.resolve_asset_graph())
    assert AssetKey("evaluation") in found
    assert AssetKey("prompts") not in found


if __name__ == "__main__":
    from rlaif_dagster.project_template import TEMPLATE_ROOT

    SNAPSHOT.write_text(json.dumps(describe(build_definitions(TEMPLATE_ROOT)), indent=2) + "\n")
