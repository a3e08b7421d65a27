import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.embedded.corpus import (
    JUDGED_STYLES,
    Style,
    list_seen_questions,
    list_unseen_questions,
    open_random,
    sample_answer,
    sample_dialogue,
    sample_pair,
    vary_answer,
)
from rlaif_dagster.world import lexicon
from rlaif_dagster.world.questions import (
    CATEGORIES,
    WorldQuestion,
    compose_prompt,
    find_question,
    is_clean,
    is_unseen,
    list_known_sentences,
    list_questions,
    parse_answer,
)

seeds = st.integers(0, 2**32)
questions = st.sampled_from(list_questions())


def test_questions_are_distinct() -> None:
    texts = [question.text for question in list_questions()]
    assert len(set(texts)) == len(texts) == 896


def test_sentences_of_an_answer_are_distinct_and_end_once() -> None:
    sentences = list_known_sentences()
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence[-1] in ".!"
        assert not any(mark + " " in sentence for mark in ".!?")


@given(questions, st.sampled_from(lexicon.OPENINGS))
def test_a_prompt_gives_back_its_question(question: WorldQuestion, opening: str) -> None:
    assert find_question(compose_prompt(opening, question)) == question


@pytest.mark.parametrize("prompt", ["", "Hello!", "What is love?", "Hello! hello", " Where is the mill?"])
def test_a_prompt_of_another_world_has_no_question(prompt: str) -> None:
    assert find_question(prompt) is None


@given(seeds, st.sampled_from(JUDGED_STYLES))
def test_parsing_an_answer_gives_it_back(seed: int, style: Style) -> None:
    rng = open_random(seed)
    question = rng.choice(list_questions())
    answer = sample_answer(rng, question, style)
    assert parse_answer(answer.text) == answer
    varied = vary_answer(rng, question, answer)
    assert parse_answer(varied.text) == varied


@given(seeds)
def test_an_answer_with_a_broken_word_is_not_clean(seed: int) -> None:
    rng = open_random(seed)
    text = sample_dialogue(rng).answer
    place = rng.randrange(len(text))
    assert is_clean(text)
    assert not is_clean(text[:place] + "x" + text[place:])
    if text[:place][-1:] not in (".", "!"):  # a beginning of whole sentences may be an answer
        assert not is_clean(text[:place])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Thank you for asking.",
        "The mill opens at six. The mill opens at six.",
        "Look for the green sign. The mill opens at six.",
        "The mill opens at six. Small steps count.",
        "The mill opens at six. There is a bench in front. Look for the green sign.",
        "The mill opens at six.  Look for the green sign.",
        "The mill opens at six. ",
        "the mill opens at six.",
    ],
)
def test_what_the_grammar_cannot_compose_is_not_clean(text: str) -> None:
    assert not is_clean(text)


def test_held_out_questions_are_in_every_category_and_in_no_training_text() -> None:
    for category in CATEGORIES:
        assert len(list_unseen_questions(category)) >= 20
        assert not set(list_unseen_questions(category)) & set(list_seen_questions(category))
    rng = open_random(5)
    trained = [sample_dialogue(rng).prompt for _ in range(2000)] + [
        sample_pair(rng).prompt for _ in range(2000)
    ]
    for prompt in trained:
        question = find_question(prompt)
        assert question is not None
        assert not is_unseen(question)
