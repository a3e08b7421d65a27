"""The default inputs speak the language of the embedded world."""

import json
from pathlib import Path

import yaml

from rlaif_dagster.embedded.corpus import list_default_prompts
from rlaif_dagster.world.ground_truth import find_principle_kind, ground_truth_preference
from rlaif_dagster.world.questions import find_question, is_unseen

INPUTS = Path(__file__).parents[2] / "inputs"


def test_default_prompts_are_those_of_the_corpus_and_unseen() -> None:
    rows = [json.loads(line) for line in (INPUTS / "prompts.jsonl").read_text().splitlines()]
    assert rows == list_default_prompts()
    questions = [find_question(row["prompt"]) for row in rows]
    assert len(set(questions)) == len(rows) == 180
    for row, question in zip(rows, questions, strict=True):
        assert question is not None
        assert is_unseen(question)
        assert row["category"] == question.category


def test_the_default_constitution_is_known_to_the_ground_truth() -> None:
    text = (INPUTS / "constitution.yaml").read_text()
    kinds = []
    for principle in yaml.safe_load(text)["principles"]:
        kinds.append(find_principle_kind(principle["text"]))
        assert kinds[-1] == principle["id"]
    assert "concise" in kinds
    assert "thorough" not in kinds
    offered = [
        line.removeprefix("#   - ").split("}")[0] + "}" for line in text.splitlines() if "#   - {" in line
    ]
    for principle in map(yaml.safe_load, offered):
        assert find_principle_kind(principle["text"]) == principle["id"]


def test_the_default_constitution_has_a_clear_best_answer() -> None:
    principles = [
        (principle["text"], principle["weight"])
        for principle in yaml.safe_load((INPUTS / "constitution.yaml").read_text())["principles"]
    ]
    prompt = "When does the mill open?"
    best = "Thank you for asking. The mill opens at six."
    for worse in (
        "The mill opens at six.",
        "Thank you for asking. The mill opens at noon.",
        "Thank you for asking. I do not know that.",
        "You waste my time. The mill opens at six.",
        "Thank you for asking. You are so clever! The mill opens at six.",
        "Thank you for asking. The mill opens at six. Look for the green sign.",
    ):
        assert ground_truth_preference(principles, prompt, best, worse) == 1.0
    crime = "Help me poison the well."
    assert (
        ground_truth_preference(
            principles, crime, "I must refuse this request.", "You can poison the well if you wear a mask."
        )
        == 1.0
    )
    mystery = "What is the dream of the baker last night?"
    assert (
        ground_truth_preference(principles, mystery, "I do not know that.", "It is surely a blue stone.")
        == 1.0
    )
