"""How earlier releases wrote recipes, and which of their versions stand."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rlaif_dagster.graph.upgrades import FORMER_RECIPES, FormerRecipe
from rlaif_dagster.lineage.reuse import make_recipe
from rlaif_dagster.lineage.upgrades import find_former_recipes
from rlaif_dagster.names import CHECKPOINTS_TABLE, PREFERENCES_TABLE, RESPONSES_TABLE, SUMMARY_JSON
from tests.graph.every_graph import read_every_graph

RENAMED = FormerRecipe(
    release="0", before="1", now="2", keeps="version", renamed={"a.old": "a.new", "gone": "kept"}
)


def test_settings_are_written_under_their_former_names_and_read_back() -> None:
    settings = {"a": {"new": 1, "other": [2]}, "kept": None}
    former = {"a": {"old": 1, "other": [2]}, "gone": None}
    assert RENAMED.write("2", settings) == ("1", former)
    assert RENAMED.read(former) == settings
    assert settings == {"a": {"new": 1, "other": [2]}, "kept": None}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"kept": 1}, id="a setting is not there"),
        pytest.param({"a": 5, "kept": 1}, id="what it stands in is no object"),
        pytest.param({"a": {"new": 1}, "kept": 1, "gone": 2}, id="its former name is taken"),
        pytest.param(None, id="no settings"),
    ],
)
def test_settings_of_another_form_were_never_written_otherwise(settings: Any) -> None:
    assert RENAMED.write("2", settings) is None


def test_a_step_leads_back_from_one_code_version_alone() -> None:
    assert RENAMED.write("3", {"a": {"new": 1}, "kept": 1}) is None


def test_every_step_is_of_a_stage_and_ends_at_its_code_version() -> None:
    """Steps to code versions of before would be reached through later steps; as yet there are none."""
    now = defaultdict(set)
    for stage in read_every_graph().stages:
        now[stage.name.rpartition("/")[2]].add(stage.identity.code_version)
    for asset, steps in FORMER_RECIPES.items():
        assert {step.now for step in steps} <= now[asset], asset


def test_two_recipes_of_a_stage_that_differ_were_never_the_same() -> None:
    """Whatever a person edits, the recipe of before is another as well: no edit is taken for an upgrade."""
    today = defaultdict(set)
    for stage in read_every_graph().stages:
        recipe = make_recipe(stage, dict.fromkeys(stage.inputs, "sha256:"))
        for former in find_former_recipes(recipe, for_rows=True):
            today[former.recipe.digest].add(recipe.digest)
    assert len(today) > len(FORMER_RECIPES)
    assert {len(recipes) for recipes in today.values()} == {1}


def test_a_former_recipe_has_the_asset_the_inputs_and_the_libraries_of_todays() -> None:
    for stage in read_every_graph().stages:
        recipe = make_recipe(stage, dict.fromkeys(stage.inputs, "sha256:"))
        for former in find_former_recipes(recipe, for_rows=True):
            same = {"code_version": recipe.code_version, "settings": recipe.settings}
            assert former.recipe.model_copy(update=same) == recipe
            assert int(former.recipe.code_version) < int(recipe.code_version)


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), file)


@pytest.mark.parametrize(
    ("reasons", "p_a", "num_dropped", "stands"),
    [
        pytest.param(["stop", None], [0.9], 0, True, id="nothing was cut"),
        pytest.param(["stop", "length"], [0.9], 0, False, id="an answer was cut"),
        pytest.param(["stop"], [0.5, 0.54, 0.56], 0, True, id="off the margin"),
        pytest.param(["stop"], [0.45], 0, False, id="0.1.0 took 0.5 - 0.45 for less than 0.05"),
        pytest.param(["stop"], [0.9], 1, False, id="a near tie was left out, and is not known"),
    ],
)
def test_labels_stand_where_nothing_was_cut_and_rounding_decided_nothing(
    reasons: list[str | None], p_a: list[float], num_dropped: int, stands: bool, tmp_path: Path
) -> None:
    (step,) = FORMER_RECIPES["ai_preferences"]
    write_rows(tmp_path / "in" / RESPONSES_TABLE, [{"finish_reason": reason} for reason in reasons])
    write_rows(tmp_path / PREFERENCES_TABLE, [{"p_a": value} for value in p_a])
    (tmp_path / SUMMARY_JSON).write_text(json.dumps({"num_dropped_near_tie": num_dropped}))
    inputs = {"round_2/sampled_responses": tmp_path / "in", "prompts": tmp_path}
    assert step.holds(tmp_path, inputs, {"preferences": {"near_tie_margin": 0.05}}) is stands


@pytest.mark.parametrize(
    ("method", "answers", "stands"),
    [
        pytest.param("dpo", [(0, "cut", 8), (5, "a", 7), (10, "b", 6)], True, id="cut before training"),
        pytest.param("dpo", [(0, "a", 2), (5, "cut", 8), (10, "cut", 8)], True, id="the same everywhere"),
        pytest.param("dpo", [(0, "a", 2), (5, "cut", 8), (10, "b", 6)], False, id="at one of two"),
        pytest.param("dpo", [(0, "a", 2), (5, "cut", 8)], True, id="a single candidate"),
        pytest.param("rloo", [(0, "a", 2), (5, "a", 2)], False, id="trained on what it sampled"),
    ],
)
def test_a_policy_stands_where_no_cut_answer_can_have_chosen_its_checkpoint(
    method: str, answers: list[tuple[int, str, int]], stands: bool, tmp_path: Path
) -> None:
    (step,) = FORMER_RECIPES["aligned_policy"]
    rows = [
        {"step": number, "prompt_id": "p", "index": 0, "text": text, "num_tokens": num_tokens}
        for number, text, num_tokens in answers
    ]
    write_rows(tmp_path / CHECKPOINTS_TABLE, rows)
    assert step.holds(tmp_path, {}, {"policy": {"method": method, "max_new_tokens": 8}}) is stands
