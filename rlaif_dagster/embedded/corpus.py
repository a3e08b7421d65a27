"""The training data of the embedded models: prompts, answers of varied behaviour, and pairs with ground truth.

Everything is drawn from questions that are not `is_unseen`, from a `random.Random` that the caller seeds.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.world import lexicon
from rlaif_dagster.world.ground_truth import PRINCIPLE_KINDS, WORDINGS, PrincipleKind, score_answer
from rlaif_dagster.world.questions import (
    CATEGORIES,
    MAX_DETAILS,
    Answer,
    Category,
    Core,
    CoreForm,
    WorldQuestion,
    compose_prompt,
    find_category,
    is_unseen,
    list_core_sentences,
    list_questions,
    read_core,
    true_value,
)

TIE: Final = 0.5
"""The preference of a pair that the ground truth does not decide."""


def open_random(seed: int, *identity: JsonValue) -> Random:
    """Opens a random generator for one purpose."""
    return Random(derive_seed(seed, *identity))  # noqa: S311 - nothing here is a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How an author answers: the probability of each part, drawn independently.

    Attributes:
        good: Chance of the core that a good author gives; else a bad one that fits the question.
        polite: Chance of a polite tone.
        rude: Chance of a rude tone; `polite + rude <= 1`.
        flattery: Chance of flattery.
        details: Weights of 0, 1 and 2 details.
        source: Chance of a source.
        encouragement: Chance of encouragement.
        offer: Chance of an offer.
        off_topic: Chance that the core belongs to another question.
    """

    good: float
    polite: float
    rude: float
    flattery: float
    details: tuple[float, float, float]
    source: float
    encouragement: float
    offer: float
    off_topic: float = 0.0


POLICY_STYLE: Final = Style(
    good=0.5,
    polite=0.3,
    rude=0.3,
    flattery=0.35,
    details=(0.4, 0.3, 0.3),
    source=0.25,
    encouragement=0.25,
    offer=0.25,
)
"""The policy's training data: every habit is good about as often as bad, so that there is much to align."""

JUDGED_STYLES: Final = (
    POLICY_STYLE,
    Style(
        good=0.5,
        polite=0.4,
        rude=0.3,
        flattery=0.5,
        details=(1, 1, 1),
        source=0.5,
        encouragement=0.5,
        offer=0.5,
        off_topic=0.1,
    ),
    Style(
        good=0.9,
        polite=0.7,
        rude=0.02,
        flattery=0.04,
        details=(0.8, 0.15, 0.05),
        source=0.1,
        encouragement=0.1,
        offer=0.1,
    ),
    Style(
        good=0.9,
        polite=0.7,
        rude=0.02,
        flattery=0.04,
        details=(0.05, 0.2, 0.75),
        source=0.3,
        encouragement=0.3,
        offer=0.3,
    ),
)
"""The answers in the judge's training data: of an unaligned policy, of any mixture, and of aligned ones."""

_BAD_CORES: Final[dict[Category, dict[CoreForm, float]]] = {
    "fact": {"hour": 0.7, "admission": 0.15, "refusal": 0.15},
    "how_to": {"steps": 0.6, "admission": 0.15, "refusal": 0.25},
    "unknowable": {"claim": 0.85, "refusal": 0.15},
    "harmful": {"comply": 0.9, "admission": 0.1},
    "feelings": {"dismissal": 0.7, "admission": 0.15, "refusal": 0.15},
}
"""For each category, the forms of a bad core and their weights ("hour" stands for the question's own topic)."""

_GOOD_FORMS: Final[dict[Category, CoreForm]] = {
    "unknowable": "admission",
    "harmful": "refusal",
    "feelings": "advice",
}


def _choose_core(rng: Random, question: WorldQuestion, *, good: bool) -> Core:
    if good and question.topic in ("hour", "location", "steps"):
        value = true_value(question.topic, question.subject)
        return Core(form=question.topic, subject=question.subject, value=value)
    if good:
        return Core(form=_GOOD_FORMS[question.category])
    forms = _BAD_CORES[question.category]
    form = rng.choices(list(forms), weights=list(forms.values()))[0]
    if form in ("hour", "steps"):
        return _choose_false_core(rng, question)
    if form == "claim":
        return Core(form=form, value=rng.choice(lexicon.CLAIM_VALUES[lexicon.MYSTERIES[question.subject]]))
    if form == "comply":
        return Core(form=form, subject=question.subject, value=rng.choice(lexicon.CRIME_MEANS))
    return Core(form=form)


def _choose_false_core(rng: Random, question: WorldQuestion) -> Core:
    values = {"hour": lexicon.HOURS, "location": lexicon.LOCATIONS, "steps": tuple(lexicon.TASKS.values())}
    truth = true_value(question.topic, question.subject)
    value = rng.choice([other for other in values[question.topic] if other != truth])
    return Core(form=question.topic, subject=question.subject, value=value)


def sample_answer(rng: Random, question: WorldQuestion, style: Style) -> Answer:
    """Draws an answer to a question in a style."""
    asked = question
    if rng.random() < style.off_topic:
        asked = rng.choice(list_seen_questions(question.category))
    core = _choose_core(rng, asked, good=rng.random() < style.good)
    tone_draw = rng.random()
    tone = None
    if tone_draw < style.polite + style.rude:
        tone = rng.choice(lexicon.POLITE_TONES if tone_draw < style.polite else lexicon.RUDE_TONES)

    def maybe(chance: float, sentences: tuple[str, ...]) -> str | None:
        return rng.choice(sentences) if rng.random() < chance else None

    return Answer(
        tone=tone,
        flattery=maybe(style.flattery, lexicon.FLATTERIES),
        core=rng.choice(list_core_sentences(core)),
        details=_sample_details(rng, question.category, style),
        source=maybe(style.source, lexicon.SOURCE_SENTENCES),
        encouragement=maybe(style.encouragement, lexicon.ENCOURAGEMENTS),
        offer=maybe(style.offer, lexicon.OFFERS),
    )


def _sample_details(rng: Random, category: Category, style: Style) -> tuple[str, ...]:
    num_details = rng.choices(range(MAX_DETAILS + 1), weights=style.details)[0]
    bank = lexicon.DETAILS[category]
    return tuple(bank[index] for index in sorted(rng.sample(range(len(bank)), num_details)))


def vary_answer(rng: Random, question: WorldQuestion, answer: Answer) -> Answer:
    """Draws an answer that differs from another in one or two parts (a drawn part may equal the old one)."""
    other = sample_answer(rng, question, JUDGED_STYLES[1])
    core = read_core(answer.core)
    parts = [field.name for field in dataclasses.fields(Answer)]
    if core is not None and find_category(core) not in (None, question.category):
        parts.remove("details")
    changed = rng.sample(parts, rng.choice((1, 1, 2)))
    return dataclasses.replace(answer, **{part: getattr(other, part) for part in changed})


@cache
def list_seen_questions(category: Category) -> tuple[WorldQuestion, ...]:
    """Lists the questions of a category that models may be trained on."""
    return tuple(q for q in list_questions() if q.category == category and not is_unseen(q))


@cache
def list_unseen_questions(category: Category) -> tuple[WorldQuestion, ...]:
    """Lists the questions of a category that were held out from all training."""
    return tuple(q for q in list_questions() if q.category == category and is_unseen(q))


_CATEGORY_WEIGHTS: Final = (0.4, 0.2, 0.13, 0.14, 0.13)
"""Facts and tasks need the most memorising."""


NUM_DEFAULT_PROMPTS: Final = 180


def list_default_prompts(seed: int = 0) -> list[dict[str, str]]:
    """Lists the rows of the default `inputs/prompts.jsonl`: unseen questions, each asked once."""
    rng = open_random(seed, "embedded prompts")
    questions = [q for category in CATEGORIES for q in list_unseen_questions(category)]
    chosen = rng.sample(questions, NUM_DEFAULT_PROMPTS)
    return [
        {"prompt": compose_prompt(rng.choice(lexicon.OPENINGS), question), "category": question.category}
        for question in chosen
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtDialogue:
    """A prompt and an answer to it."""

    prompt: str
    answer: str


def sample_dialogue(rng: Random) -> TaughtDialogue:
    """Draws a training dialogue for the policy."""
    category = rng.choices(CATEGORIES, weights=_CATEGORY_WEIGHTS)[0]
    question = rng.choice(list_seen_questions(category))
    return TaughtDialogue(
        prompt=compose_prompt(rng.choice(lexicon.OPENINGS), question),
        answer=sample_answer(rng, question, POLICY_STYLE).text,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """Two answers to a prompt, and the ground truth about them by one principle.

    Attributes:
        kind: The principle's kind.
        principle: Its wording.
        prompt: The prompt of both answers.
        first: One answer.
        second: The other.
        preference: 1.0 if the first is better, 0.0 if the second is, 0.5 if neither.
        scores: The ground truth's scores of both.
    """

    kind: PrincipleKind
    principle: str
    prompt: str
    first: str
    second: str
    preference: float
    scores: tuple[float, float]


def judge_by_ground_truth(
    kind: PrincipleKind, principle: str, prompt: str, first: str, second: str
) -> JudgedPair | None:
    """Compares two answers by the ground truth; None if a text is not of the world."""
    scores = score_answer(kind, prompt, first), score_answer(kind, prompt, second)
    if scores[0] is None or scores[1] is None:
        return None
    return JudgedPair(
        kind=kind,
        principle=principle,
        prompt=prompt,
        first=first,
        second=second,
        preference=TIE + TIE * (float(scores[0] > scores[1]) - float(scores[0] < scores[1])),
        scores=(scores[0], scores[1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMixture:
    """How pairs are drawn.

    Attributes:
        kind_weights: How often each kind of principle is drawn, relative to 1 for kinds that are not named.
        telling: The categories of questions that are most informative about a kind.
        telling_share: The probability that a question is drawn from those only.
    """

    kind_weights: Mapping[PrincipleKind, float]
    telling: Mapping[PrincipleKind, tuple[Category, ...]]
    telling_share: float


BROAD_MIXTURE: Final = PairMixture(
    kind_weights={"helpful": 2.5, "honest": 3.5, "sourced": 1.5, "caring": 1.5, "inviting": 1.5},
    telling={"harmless": ("harmful",), "helpful": ("fact", "how_to"), "honest": ("fact", "how_to")},
    telling_share=0.6,
)
FACTS_MIXTURE: Final = PairMixture(
    kind_weights={"helpful": 6.0, "honest": 12.0},
    telling={"harmless": ("harmful",), "helpful": ("fact",), "honest": ("fact",)},
    telling_share=0.7,
)
"""Mostly whether hours and locations are true and were asked for: these must be memorised."""

MANNERS_MIXTURE: Final = PairMixture(
    kind_weights={kind: float(kind in ("polite", "modest")) for kind in PRINCIPLE_KINDS},
    telling={},
    telling_share=0.0,
)
"""The style, not the content: what a weak judge learns first."""

_NEAR_SHARE: Final = 0.4
"""The probability that the second answer is a variation of the first."""
_TIE_SHARES: Final = {"helpful": 0.1, "honest": 0.1, "harmless": 0.1}
_TIE_SHARE: Final = 0.25
"""The probability that a drawn tie is kept: enough to learn ties, few enough to learn the rest."""


def sample_pair(
    rng: Random,
    mixture: PairMixture = BROAD_MIXTURE,
    *,
    kind: PrincipleKind | None = None,
    unseen: bool = False,
) -> JudgedPair:
    """Draws a pair and its ground truth: far apart or close together, good or bad, mostly decided.

    Args:
        rng: The random generator.
        mixture: How to draw.
        kind: The kind of principle; None to draw it.
        unseen: True for a held-out question, for measuring; False for training.
    """
    if kind is None:
        kind = rng.choices(PRINCIPLE_KINDS, [mixture.kind_weights.get(k, 1.0) for k in PRINCIPLE_KINDS])[0]
    principle = rng.choice(WORDINGS[kind])
    while True:
        category = rng.choice(CATEGORIES)
        if kind in mixture.telling and rng.random() < mixture.telling_share:
            category = rng.choice(mixture.telling[kind])
        question = rng.choice((list_unseen_questions if unseen else list_seen_questions)(category))
        first = sample_answer(rng, question, rng.choice(JUDGED_STYLES))
        if rng.random() < _NEAR_SHARE:
            second = vary_answer(rng, question, first)
        else:
            second = sample_answer(rng, question, rng.choice(JUDGED_STYLES))
        if rng.getrandbits(1):
            first, second = second, first
        prompt = compose_prompt(rng.choice(lexicon.OPENINGS), question)
        pair = judge_by_ground_truth(kind, principle, prompt, first.text, second.text)
        if pair is not None and (pair.preference != TIE or rng.random() < _TIE_SHARES.get(kind, _TIE_SHARE)):
            return pair
