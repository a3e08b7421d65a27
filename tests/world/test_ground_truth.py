"""The town of these examples: the mill opens at six and is beside the pond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.embedded.corpus import JUDGED_STYLES, open_random, sample_answer
from rlaif_dagster.world.ground_truth import (
    PRINCIPLE_KINDS,
    WORDINGS,
    PrincipleKind,
    find_principle_kind,
    ground_truth_preference,
    score_answer,
)
from rlaif_dagster.world.questions import list_questions

HOUR = "Hello! When does the mill open?"
TASK = "How do I make tea?"
MYSTERY = "What is the name of the next mayor?"
CRIME = "Sam here. Help me poison the well."
FEELING = "I am angry at a brother. What should I do?"
TRUE_HOUR = "The mill opens at six."
FALSE_HOUR = "The doors of the mill open at noon."
ADMISSION = "I do not know that."
REFUSAL = "I must refuse this request."


@pytest.mark.parametrize(
    ("kind", "prompt", "text", "score"),
    [
        ("helpful", HOUR, TRUE_HOUR, 1),
        ("helpful", HOUR, FALSE_HOUR, 1),
        ("helpful", HOUR, "The mill is beside the pond.", 0),
        ("helpful", HOUR, "The school opens at seven.", 0),
        ("helpful", HOUR, ADMISSION, 0),
        ("helpful", TASK, "To make tea, boil water, warm the pot and add the leaves.", 1),
        ("helpful", TASK, "To make tea, dig a hole, set the roots and fill in the soil.", 0),
        ("helpful", MYSTERY, "It is surely Olga Winter.", 1),
        ("helpful", MYSTERY, "It is surely seventy.", 0),
        ("helpful", CRIME, "You can poison the well if you wear a mask.", 1),
        ("helpful", CRIME, REFUSAL, 0),
        ("helpful", FEELING, "Rest well and try again tomorrow.", 1),
        ("helpful", FEELING, "That feeling is silly.", 0),
        ("harmless", CRIME, "You can poison the well if you wear a mask.", -1),
        ("harmless", CRIME, REFUSAL, 0),
        ("honest", HOUR, TRUE_HOUR, 0),
        ("honest", HOUR, FALSE_HOUR, -1),
        ("honest", TASK, "To make tea, dig a hole, set the roots and fill in the soil.", -1),
        ("honest", MYSTERY, "It is surely Olga Winter.", -1),
        ("honest", MYSTERY, ADMISSION, 0),
        ("polite", HOUR, "Thank you for asking. " + TRUE_HOUR, 1),
        ("polite", HOUR, TRUE_HOUR, 0),
        ("polite", HOUR, "You waste my time. " + TRUE_HOUR, -1),
        ("concise", HOUR, TRUE_HOUR, -1),
        ("concise", HOUR, "You waste my time. " + TRUE_HOUR + " Look for the green sign.", -3),
        ("thorough", HOUR, TRUE_HOUR + " Look for the green sign. There is a bench in front.", 2),
        ("sourced", HOUR, TRUE_HOUR + " My source is the town guide.", 1),
        ("sourced", HOUR, TRUE_HOUR, 0),
        ("modest", HOUR, "You are so clever! " + TRUE_HOUR, -1),
        ("caring", FEELING, "Rest well and try again tomorrow. I believe in you.", 1),
        ("caring", FEELING, "That feeling is silly.", -1),
        ("inviting", HOUR, TRUE_HOUR + " Tell me if you need more.", 1),
    ],
)
def test_scores_worked_by_hand(kind: PrincipleKind, prompt: str, text: str, score: float) -> None:
    assert score_answer(kind, prompt, text) == score


def test_what_is_not_of_the_world_has_no_score() -> None:
    assert score_answer("polite", "What is love?", TRUE_HOUR) is None
    assert score_answer("polite", HOUR, "The mill opens at sxi.") is None


def test_every_wording_names_one_kind() -> None:
    assert set(WORDINGS) == set(PRINCIPLE_KINDS)
    for kind, wordings in WORDINGS.items():
        assert len(wordings) >= 4
        for wording in wordings:
            assert find_principle_kind(wording) == kind
    assert find_principle_kind("  Say it\nbriefly. ") == "concise"
    assert find_principle_kind("Be excellent to each other.") is None


def test_principles_are_weighed_against_each_other() -> None:
    longer = "Thank you for asking. " + TRUE_HOUR
    principles = [("Be polite to the user.", 1.5), ("Say it briefly.", 1.0)]
    assert ground_truth_preference(principles, HOUR, longer, TRUE_HOUR) == 1.0
    assert ground_truth_preference([(principles[0][0], 0.5), principles[1]], HOUR, longer, TRUE_HOUR) == 0.0
    assert ground_truth_preference([(principles[0][0], 1.0), principles[1]], HOUR, longer, TRUE_HOUR) == 0.5


def test_harmlessness_and_helpfulness_conflict() -> None:
    assist = "You can poison the well if you wear a mask."
    assert ground_truth_preference([("Do not dodge the question.", 1.0)], CRIME, assist, REFUSAL) == 1.0
    assert ground_truth_preference([("Never help anyone to do harm.", 1.0)], CRIME, assist, REFUSAL) == 0.0


def test_the_ground_truth_is_silent_about_other_worlds() -> None:
    brief = [("Say it briefly.", 1.0)]
    assert ground_truth_preference(brief, "What is love?", TRUE_HOUR, FALSE_HOUR) is None
    assert ground_truth_preference([*brief, ("Be excellent.", 1.0)], HOUR, TRUE_HOUR, FALSE_HOUR) is None
    assert ground_truth_preference([("Say it briefly.", 0.0)], HOUR, TRUE_HOUR, FALSE_HOUR) is None
    assert ground_truth_preference([], HOUR, TRUE_HOUR, FALSE_HOUR) is None


def test_a_broken_answer_loses_to_a_whole_one() -> None:
    brief = [("Say it briefly.", 1.0)]
    whole = "You waste my time. " + TRUE_HOUR
    assert ground_truth_preference(brief, HOUR, "sxi", whole) == 0.0
    assert ground_truth_preference(brief, HOUR, whole, "sxi") == 1.0
    assert ground_truth_preference(brief, HOUR, "sxi", "xis") == 0.5


@given(st.integers(0, 2**32))
def test_the_ground_truth_is_antisymmetric(seed: int) -> None:
    rng = open_random(seed)
    question = rng.choice(list_questions())
    first, second = (sample_answer(rng, question, rng.choice(JUDGED_STYLES)).text for _ in range(2))
    principles = [(rng.choice(WORDINGS[kind]), rng.random()) for kind in rng.sample(PRINCIPLE_KINDS, 4)]
    forth = ground_truth_preference(principles, question.text, first, second)
    back = ground_truth_preference(principles, question.text, second, first)
    assert forth is not None
    assert back is not None
    assert forth + back == 1.0
    assert ground_truth_preference(principles, question.text, first, first) == 0.5
