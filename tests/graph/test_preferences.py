"""The stage of the soft labels: a jury's verdicts from a table, and what its recipe holds of the judge."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.generation.responses import responses_schema
from rlaif_dagster.graph.judging import write_judgements
from rlaif_dagster.graph.preferences import build_ai_preferences
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.verdicts import ORDERS, Verdict
from rlaif_dagster.names import CONSTITUTION_JSON, PREFERENCES_TABLE, PROMPTS_TABLE, RESPONSES_TABLE
from rlaif_dagster.prompts import prompts_schema
from rlaif_dagster.tables import Row, read_table, write_table
from tests.conftest import edit_yaml

NUM_PAIRS = 40
PLANTED = {"provider": "planted", "protocol": "one_principle"}


def read_inputs(project: Path, judge: dict[str, Any]) -> ProjectInputs:
    (project / "inputs" / "judge.yaml").write_text(yaml.safe_dump(judge))
    return ProjectInputs.read(project)


def make_jury(*names: str, combine: str = "mean") -> dict[str, Any]:
    return {"provider": "jury", "combine": combine, "judges": [{**PLANTED, "name": name} for name in names]}


def label(project: Path, inputs: ProjectInputs, output: str) -> tuple[StageResult, list[Row]]:
    """Runs the stage on forty pairs; j and k are always right (a is better), l is wrong on each fourth."""
    folder = project / "versions"
    (folder / output).mkdir(parents=True)
    ids = [f"p{number:02}" for number in range(NUM_PAIRS)]
    pairs = [Pair.from_responses(name, f"{name}/a", f"{name}/b") for name in ids]
    verdicts = [
        Verdict(
            verdict_id=f"{pair.pair_id}{judge}{order}",
            pair_id=pair.pair_id,
            prompt_id=pair.prompt_id,
            response_a=pair.response_a,
            response_b=pair.response_b,
            order=order,
            principle_id="kind",
            judge=judge,
            repeat=0,
            status="ok",
            p_first=None,
            verdict="first" if (order == "ab") != (judge == "l" and number % 4 == 0) else "second",
            answers=(Reply(call_id="c", status="ok", text="A"),),
        )
        for number, pair in enumerate(pairs)
        for judge in "jkl"
        for order in ORDERS
    ]
    write_judgements(folder, verdicts)
    constitution = {"principles": [{"id": name, "text": name, "weight": 1.0} for name in ("brief", "kind")]}
    (folder / CONSTITUTION_JSON).write_bytes(canonical_json(constitution))
    prompts = [{"prompt_id": name, "prompt": name, "category": None, "split": "train"} for name in ids]
    write_table(folder / PROMPTS_TABLE, prompts, prompts_schema())
    responses = [
        dict.fromkeys(responses_schema().names)
        | {"response_id": f"{name}/{side}", "prompt_id": name, "source": "s", "index": 0, "text": side}
        for name in ids
        for side in "ab"
    ]
    write_table(folder / RESPONSES_TABLE, responses, responses_schema())
    stage = build_ai_preferences(inputs)
    result = stage.compute(
        StageContext(
            inputs=dict.fromkeys(stage.inputs, folder),
            digests={},
            output=folder / output,
            scratch=folder,
            journal=folder / "journal",
            attempt="test",
            services=NoHistory(),
        )
    )
    return result, read_table(folder / output / PREFERENCES_TABLE)


def test_a_jury_is_combined_as_the_settings_say(default_project: Path) -> None:
    expected = {"mean": (2 / 3, 1.0), "majority": (2 / 3, 1.0)}
    for combine, (torn, agreed) in expected.items():
        inputs = read_inputs(default_project, make_jury(*"jkl", combine=combine))
        result, rows = label(default_project, inputs, combine)
        assert [row["p_a"] for row in rows[:2]] == pytest.approx([torn, agreed])
        assert [row["judge_agreement"] for row in rows[:2]] == pytest.approx([1 / 3, 1.0])
        assert {row["num_verdicts"] for row in rows} == {6}
        assert "judge_accuracies" not in result.metrics
    result, rows = label(
        default_project, read_inputs(default_project, make_jury(*"jkl", combine="reliability")), "r"
    )
    accuracies: Any = result.metrics["judge_accuracies"]
    assert accuracies["l"] == pytest.approx(31 / 42, abs=0.02)  # 30 of 40 right, and one of two added
    assert accuracies["j"] == accuracies["k"] == pytest.approx(41 / 42, abs=0.01)
    assert rows[0]["p_a"] > 0.99  # two good judges against a worse one
    assert result.rows == NUM_PAIRS
    json.dumps(result.metrics)


def test_the_recipe_holds_how_verdicts_are_combined_and_not_who_gave_them(default_project: Path) -> None:
    """A judge that says the same, byte for byte, leaves the labels as they are."""
    stage = build_ai_preferences(ProjectInputs.read(default_project))
    assert "judge" not in stage.inputs
    recipes = [
        Digest.from_json(build_ai_preferences(read_inputs(default_project, judge)).identity.settings)
        for judge in (
            make_jury("j", "k"),
            make_jury("l", "m", "n"),
            PLANTED,
            {**PLANTED, "seed": 3},
            make_jury("j", "k", combine="majority"),
            {"provider": "planted"},
        )
    ]
    assert len(set(recipes[:4])) == 1
    assert len(set(recipes)) == 3


def test_people_are_read_where_they_count(default_project: Path) -> None:
    """The first pair's label by a person, against three judges; one of a pair that nobody judged is not used."""
    lines = [
        {"prompt_id": "p01", "response_a": "p01/a", "response_b": "p01/b", "label": "b"},
        {"prompt_id": "p02", "text_a": "something", "text_b": "else", "label": "a"},
    ]
    (default_project / "inputs" / "people.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    judge = {**make_jury(*"jkl"), "human_labels": "inputs/people.jsonl"}
    _, without = label(default_project, read_inputs(default_project, judge), "without")
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline["preferences"].update(human_weight=1.0),
    )
    result, rows = label(default_project, read_inputs(default_project, judge), "with")
    assert (result.counts["num_human_labels"], result.counts["num_human_labels_unused"]) == (1, 1)
    changed = [place for place, (one, other) in enumerate(zip(rows, without, strict=True)) if one != other]
    (place,) = changed
    assert rows[place]["prompt_id"] == "p01"
    assert (without[place]["p_a"], rows[place]["p_a"]) == pytest.approx((1.0, 0.5))
