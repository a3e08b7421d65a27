"""Plans the questions to judges: every pair in both orders, by the principles that the protocol selects."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlaif_dagster.digest import Digest
from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.reading import Preference, read_rating, read_verdict
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY, ORDERS, Order, Verdict, VerdictStatus, lean
from rlaif_dagster.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about one pair: which answer is better, by one rule, shown in one order.

    Attributes:
        pair: The pair.
        order: Which response is shown first.
        principle_id: The principle to judge by; None for the whole constitution.
        repeat: The 0-based repeat index of the question.
        judge: The judge's name.
        calls: One call about both answers, or one about each, starting with the answer shown first.
    """

    pair: Pair
    order: Order
    principle_id: str | None
    repeat: int
    judge: str
    calls: tuple[Call, ...]

    @property
    def verdict_id(self) -> str:
        """The id of its verdict, made of the calls whose answers decide, and the order."""
        return Digest.from_json([[call.call_id for call in self.calls], self.order]).sha256[:32]


def plan_questions(
    pairs: Iterable[Pair],
    constitution: Constitution,
    judges: Sequence[JudgeProfile],
    *,
    prompts: Mapping[str, str],
    texts: Mapping[str, str],
) -> Iterator[Question]:
    """Plans the questions: each pair, to each judge, by each rule, for each repeat, in both orders.

    Args:
        pairs: The pairs.
        constitution: The principles.
        judges: The judges to ask; a jury's judges are all asked the same.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.
    """
    for pair in pairs:
        for judge in judges:
            for principle_id, rule in _find_rules(pair, constitution, judge):
                asked = {"principle": rule, "prompt": prompts[pair.prompt_id]}
                for repeat in range(judge.repeats):
                    for order in ORDERS:
                        shown = [texts[pair.response_a], texts[pair.response_b]]
                        calls = _make_calls(judge, asked, shown if order == "ab" else shown[::-1], repeat)
                        yield Question(
                            pair=pair,
                            order=order,
                            principle_id=principle_id,
                            repeat=repeat,
                            judge=judge.name,
                            calls=calls,
                        )


def _make_calls(
    judge: JudgeProfile, asked: Mapping[str, str], shown: Sequence[str], repeat: int
) -> tuple[Call, ...]:
    if judge.template.form == "rating":
        parts = [{**asked, "answer": text} for text in shown]
    else:
        parts = [{**asked, "first": shown[0], "second": shown[1]}]
    return tuple(Call.from_texts(judge.fingerprint, part, repeat) for part in parts)


def _find_rules(pair: Pair, constitution: Constitution, judge: JudgeProfile) -> list[tuple[str | None, str]]:
    if judge.protocol == "joint":
        return [(None, constitution.joint_text)]
    if judge.protocol == "one_principle":
        principle = draw_principle(pair.pair_id, constitution)
        return [(principle.id, principle.text)]
    return [(principle.id, principle.text) for principle in constitution.principles]


def draw_principle(key: str, constitution: Constitution) -> Principle:
    """Draws one principle with probability proportional to its weight, from the content of the key alone.

    The draw is weighted rendezvous hashing: each principle's own uniform number u gives the score -weight / ln u, and
    the highest wins. Adding or removing a principle changes the draw only if that principle wins. So a
    small change of the constitution needs few new verdicts. (Thaler and Ravishankar 1998; weighted by the
    exponential race.)

    Args:
        key: The subject of the draw, such as a pair's id.
        constitution: The principles.
    """

    def score(principle: Principle) -> float:
        uniform = (derive_seed(0, "principle", key, principle.id) % 2**53 + 0.5) / 2**53
        return -principle.weight / math.log(uniform)

    return max(constitution.principles, key=score)


def conclude(question: Question, judge: JudgeProfile, answers: Sequence[Reply]) -> Verdict:
    """Reads the verdict on a question from the answers to its calls.

    Args:
        question: The question.
        judge: The judge that was asked.
        answers: One for each call, in their order.
    """
    status, p_first, verdict = _read(judge, answers)
    pair = question.pair
    return Verdict(
        verdict_id=question.verdict_id,
        pair_id=pair.pair_id,
        prompt_id=pair.prompt_id,
        response_a=pair.response_a,
        response_b=pair.response_b,
        order=question.order,
        principle_id=question.principle_id,
        judge=judge.name,
        repeat=question.repeat,
        status=status,
        p_first=p_first,
        verdict=verdict,
        answers=tuple(answers),
    )


def is_settled(answer: Reply, judge: JudgeProfile, *, retry_unparsed: bool) -> bool:
    """Says whether a call need not be asked again.

    Args:
        answer: The answer to the call.
        judge: The judge that was asked.
        retry_unparsed: If True, the answer must have a usable value. If False, any reply settles a call of a judge that
            could reply differently the next time, because asking again costs money.
    """
    if not (retry_unparsed or judge.is_final):
        return not answer.is_missing
    if judge.template.writes is not None:
        return bool(answer.text and answer.text.strip())
    return answer.status == "ok" and read_value(judge, answer) is not None


def read_value(judge: JudgeProfile, answer: Reply) -> float | None:
    """Reads an answer: P(first is better) in [0, 1], or a rating; None if it is unclear."""
    if answer.score is not None:
        return answer.score
    if answer.text is None:
        return None
    if judge.template.form == "rating":
        return read_rating(answer.text, judge.template)
    preference = read_verdict(answer.text, judge.template)
    return None if preference is None else HARD_PROBABILITY[preference]


def _read(
    judge: JudgeProfile, answers: Sequence[Reply]
) -> tuple[VerdictStatus, float | None, Preference | None]:
    for status in ("failed", "refused"):
        if any(answer.status == status for answer in answers):
            return status, None, None
    values = [read_value(judge, answer) for answer in answers]
    if None in values:
        return "unparsed", None, None
    if judge.template.form == "rating":
        first, second = (value for value in values if value is not None)
        return "ok", None, "tie" if first == second else "first" if first > second else "second"
    (value,) = (value for value in values if value is not None)
    return "ok", None if answers[0].score is None else value, lean(value)
