"""The embedded world: its questions, its answers, and the grammar that separates its text from broken text.

A prompt is an opening (or none) and a question. An answer is, in this order and each but the core optional:
tone, flattery, CORE, up to two details, source, encouragement, offer; every part is one sentence of the
lexicon. Round trip: `parse_answer(answer.text) == answer` for every answer that the grammar can compose.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from rlaif_dagster.digest import Digest
from rlaif_dagster.world import lexicon

Category = Literal["fact", "how_to", "unknowable", "harmful", "feelings"]
CATEGORIES: Final[tuple[Category, ...]] = ("fact", "how_to", "unknowable", "harmful", "feelings")

CoreForm = Literal[
    "hour", "location", "steps", "claim", "comply", "advice", "dismissal", "admission", "refusal"
]

MAX_DETAILS: Final = 2
UNSEEN_PERCENT: Final = 25
"""The share of questions, in percent, that no model of this package was trained on."""

_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldQuestion:
    """A question of the world without its opening.

    Attributes:
        text: The text.
        category: The kind of question.
        topic: The form of core that answers it, or would answer it.
        subject: The place, task, mystery, harmful act or feeling asked about.
    """

    text: str
    category: Category
    topic: CoreForm
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The content of the central sentence of an answer.

    Attributes:
        form: The sort of statement.
        subject: What it is about; None if the sentence does not say.
        value: The hour, location, steps, sort of claim or means that it states; None if it states none.
    """

    form: CoreForm
    subject: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as its sentences; None if a part is absent."""

    core: str
    tone: str | None = None
    flattery: str | None = None
    details: tuple[str, ...] = ()
    source: str | None = None
    encouragement: str | None = None
    offer: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences in order."""
        parts = (
            self.tone,
            self.flattery,
            self.core,
            *self.details,
            self.source,
            self.encouragement,
            self.offer,
        )
        return tuple(part for part in parts if part is not None)

    @property
    def text(self) -> str:
        """The text of the answer."""
        return " ".join(self.sentences)


# questions


def _iter_questions() -> Iterator[WorldQuestion]:
    asked: tuple[tuple[Category, CoreForm, Sequence[str], Sequence[str]], ...] = (
        ("fact", "hour", lexicon.HOUR_QUESTIONS, tuple(lexicon.PLACES)),
        ("fact", "location", lexicon.LOCATION_QUESTIONS, tuple(lexicon.PLACES)),
        ("how_to", "steps", lexicon.TASK_QUESTIONS, tuple(lexicon.TASKS)),
        ("unknowable", "claim", lexicon.MYSTERY_QUESTIONS, tuple(lexicon.MYSTERIES)),
        ("harmful", "comply", lexicon.TASK_QUESTIONS, lexicon.CRIMES),
        ("feelings", "advice", lexicon.FEELING_QUESTIONS, lexicon.FEELINGS),
    )
    for category, topic, patterns, subjects in asked:
        for subject, pattern in itertools.product(subjects, patterns):
            yield WorldQuestion(
                text=pattern.format(x=subject), category=category, topic=topic, subject=subject
            )


@cache
def list_questions() -> tuple[WorldQuestion, ...]:
    """Lists every question of the world, in a fixed order."""
    return tuple(_iter_questions())


@cache
def _questions_by_text() -> dict[str, WorldQuestion]:
    return {question.text: question for question in list_questions()}


def compose_prompt(opening: str, question: WorldQuestion) -> str:
    """Puts an opening (or "") before a question."""
    return f"{opening} {question.text}" if opening else question.text


def find_question(prompt: str) -> WorldQuestion | None:
    """Finds the question in a prompt; None if the prompt is not of this world."""
    questions = _questions_by_text()
    if prompt in questions:
        return questions[prompt]
    for opening in lexicon.OPENINGS[1:]:
        if prompt.startswith(opening + " "):
            return questions.get(prompt[len(opening) + 1 :])
    return None


def is_unseen(question: WorldQuestion) -> bool:
    """Says whether a question, with any opening, was held out from all training of the embedded models.

    The choice is by content: the digest of the question's words.
    """
    digest = Digest.from_json(["embedded world, unseen", question.text])
    return int(digest.sha256[:8], 16) % 100 < UNSEEN_PERCENT


# answers


def true_value(topic: CoreForm, subject: str) -> str:
    """Looks up the true value for a subject.

    Raises:
        KeyError: If the topic has no true value (claims, harmful acts, feelings) or the subject is unknown.
    """
    if topic == "hour":
        return lexicon.HOURS[lexicon.PLACES[subject][0]]
    if topic == "location":
        return lexicon.LOCATIONS[lexicon.PLACES[subject][1]]
    if topic == "steps":
        return lexicon.TASKS[subject]
    raise KeyError(topic)


_CORE_PATTERNS: Final[dict[CoreForm, Sequence[str]]] = {
    "hour": lexicon.HOUR_ANSWERS,
    "location": lexicon.LOCATION_ANSWERS,
    "steps": lexicon.TASK_ANSWERS,
    "claim": lexicon.CLAIM_ANSWERS,
    "comply": lexicon.CRIME_ANSWERS,
    "advice": lexicon.ADVICE,
    "dismissal": lexicon.DISMISSALS,
    "admission": lexicon.ADMISSIONS,
    "refusal": lexicon.REFUSALS,
}


def _iter_cores() -> Iterator[Core]:
    stated: tuple[tuple[CoreForm, Sequence[str], Sequence[str]], ...] = (
        ("hour", tuple(lexicon.PLACES), lexicon.HOURS),
        ("location", tuple(lexicon.PLACES), lexicon.LOCATIONS),
        ("steps", tuple(lexicon.TASKS), tuple(lexicon.TASKS.values())),
        ("comply", lexicon.CRIMES, lexicon.CRIME_MEANS),
    )
    for form, subjects, values in stated:
        for subject, value in itertools.product(subjects, values):
            yield Core(form=form, subject=subject, value=value)
    for values in lexicon.CLAIM_VALUES.values():
        for value in values:
            yield Core(form="claim", value=value)
    for form in ("advice", "dismissal", "admission", "refusal"):
        yield Core(form=form)


def list_core_sentences(core: Core) -> tuple[str, ...]:
    """Lists the sentences that express a core."""
    return tuple(pattern.format(x=core.subject, value=core.value) for pattern in _CORE_PATTERNS[core.form])


@cache
def _cores_by_sentence() -> dict[str, Core]:
    return {sentence: core for core in _iter_cores() for sentence in list_core_sentences(core)}


def read_core(sentence: str) -> Core | None:
    """Reads a central sentence; None if it is not one of this world."""
    return _cores_by_sentence().get(sentence)


_CORE_CATEGORIES: Final[dict[CoreForm, Category]] = {
    "hour": "fact",
    "location": "fact",
    "steps": "how_to",
    "claim": "unknowable",
    "comply": "harmful",
    "advice": "feelings",
    "dismissal": "feelings",
}


def find_category(core: Core) -> Category | None:
    """Names the category of questions that a core belongs to; None for those that fit any question."""
    return _CORE_CATEGORIES.get(core.form)


def parse_answer(text: str) -> Answer | None:
    """Parses an answer by the grammar; None if the text is not exactly one of its compositions."""
    rest = list(_SENTENCE_END.split(text))

    def take(*sentences: str) -> str | None:
        return rest.pop(0) if rest and rest[0] in sentences else None

    tone = take(*lexicon.POLITE_TONES, *lexicon.RUDE_TONES)
    flattery = take(*lexicon.FLATTERIES)
    core = read_core(rest[0]) if rest else None
    if core is None:
        return None
    core_sentence = rest.pop(0)
    category = find_category(core)
    details = _take_details(rest, (category,) if category else CATEGORIES)
    source = take(*lexicon.SOURCE_SENTENCES)
    encouragement = take(*lexicon.ENCOURAGEMENTS)
    offer = take(*lexicon.OFFERS)
    if rest:
        return None
    return Answer(
        tone=tone,
        flattery=flattery,
        core=core_sentence,
        details=details,
        source=source,
        encouragement=encouragement,
        offer=offer,
    )


def _take_details(rest: list[str], categories: Sequence[Category]) -> tuple[str, ...]:
    """Removes the details from the front of `rest`: of one category, in the order of the lexicon."""
    for category in categories:
        taken: list[str] = []
        for sentence in lexicon.DETAILS[category]:
            if len(taken) < min(len(rest), MAX_DETAILS) and rest[len(taken)] == sentence:
                taken.append(sentence)
        if taken:
            del rest[: len(taken)]
            return tuple(taken)
    return ()


def is_clean(text: str) -> bool:
    """Says whether a text is exactly one answer of the grammar: the measure of clean output."""
    return parse_answer(text) is not None


def list_known_sentences() -> tuple[str, ...]:
    """Lists every sentence that an answer may contain, in a fixed order."""
    around = (
        *lexicon.POLITE_TONES,
        *lexicon.RUDE_TONES,
        *lexicon.FLATTERIES,
        *itertools.chain.from_iterable(lexicon.DETAILS.values()),
        *lexicon.SOURCE_SENTENCES,
        *lexicon.ENCOURAGEMENTS,
        *lexicon.OFFERS,
    )
    return (*_cores_by_sentence(), *around)
