from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.asking import AskedResult, ask_questions, read_verdicts
from rlaif_dagster.judging.calls import Call, Judge, Reply, ReplyStatus
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.journal import Journal, open_journal
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import Question, conclude, draw_principle, is_settled, plan_questions
from rlaif_dagster.judging.templates import Template, load_template
from rlaif_dagster.judging.verdicts import Verdict, judgements_schema
from rlaif_dagster.tables import read_table, write_table

PAIRS = (Pair.from_responses("p1", "r1", "r2"), Pair.from_responses("p1", "r1", "r3"))
PROMPTS = {"p1": "How?"}
TEXTS = {"r1": "So.", "r2": "Like that.", "r3": "No."}


class LongerWins:
    """A judge that prefers the longer answer; it fails on calls in `fail` and forgets those in `forget`."""

    def __init__(self, *, fail: Sequence[str] = (), forget: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.fail = set(fail)
        self.forget = set(forget)

    def ask(self, calls: Iterable[Call]) -> Iterator[list[Reply]]:
        for call in reversed(list(calls)):
            self.asked.append(call.call_id)
            if call.call_id in self.forget:
                continue
            if call.call_id in self.fail:
                yield [Reply(call_id=call.call_id, status="failed", reason="no answer", input_tokens=2)]
                continue
            texts = call.texts
            said = str(min(len(texts["answer"]), 10)) if "answer" in texts else "B"
            if "first" in texts and len(texts["first"]) > len(texts["second"]):
                said = "A"
            yield [Reply(call_id=call.call_id, status="ok", text=said, input_tokens=5, output_tokens=1)]


def make_profile(template: Template, **changes: Any) -> JudgeProfile:
    fields: dict[str, Any] = {
        "name": "longer",
        "fingerprint": Digest.from_bytes(b"longer"),
        "template": template,
        "protocol": "per_principle",
        "repeats": 1,
        "reading": "text",
        "is_final": False,
        "is_local": False,
    }
    return JudgeProfile(**{**fields, **changes})


@pytest.fixture
def profile(compact: Template) -> JudgeProfile:
    return make_profile(compact)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "work" / "journal", "test") as journal:
        yield journal


def plan(constitution: Constitution, *judges: JudgeProfile, texts: dict[str, str] = TEXTS) -> list[Question]:
    return list(plan_questions(PAIRS, constitution, judges, prompts=PROMPTS, texts=texts))


def ask(
    questions: list[Question], profile: JudgeProfile, judge: Judge, journal: Journal, **options: Any
) -> tuple[AskedResult, list[Verdict]]:
    result = ask_questions(lambda _: questions, profile, lambda: judge, journal, **options)
    return result, list(read_verdicts(lambda _: questions, [profile], journal))


def list_calls(questions: Iterable[Question]) -> list[Call]:
    return [call for question in questions for call in question.calls]


def test_each_pair_is_asked_in_both_orders_by_each_principle(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    questions = plan(constitution, profile)
    assert len({question.verdict_id for question in questions}) == len(questions) == 2 * 2 * 2
    assert [(q.pair, q.principle_id, q.order) for q in questions[:3]] == [
        (PAIRS[0], "brief", "ab"),
        (PAIRS[0], "brief", "ba"),
        (PAIRS[0], "kind", "ab"),
    ]
    shown = {"principle": "Be brief.", "prompt": "How?", "first": "So.", "second": "Like that."}
    assert questions[0].calls[0].texts == shown
    assert questions[1].calls[0].texts == {**shown, "first": "Like that.", "second": "So."}


def test_the_joint_protocol_asks_once_an_order_with_every_principle(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    questions = plan(constitution, replace(profile, protocol="joint"))
    assert [question.principle_id for question in questions] == [None] * 4
    assert questions[0].calls[0].texts["principle"] == "- Be brief. (weight 1)\n- Be kind. (weight 3)"


def test_one_principle_is_drawn_for_each_pair_by_weight_and_the_same_for_all(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    questions = plan(
        constitution,
        *(replace(profile, name=name, protocol="one_principle") for name in ("one", "other")),
    )
    for pair in PAIRS:
        drawn = {question.principle_id for question in questions if question.pair == pair}
        assert drawn == {draw_principle(pair.pair_id, constitution).id}
    draws = [draw_principle(str(number), constitution).id for number in range(4000)]
    assert draws.count("kind") / 4000 == pytest.approx(3 / 4, abs=0.03)  # 4 standard errors
    grown = Constitution(principles=(*constitution.principles, Principle(id="z", text="Z.", weight=1.0)))
    moved = [draw_principle(str(number), grown).id for number in range(4000) if draws[number] != "z"]
    assert all(new in (old, "z") for old, new in zip(draws, moved, strict=True))


def test_each_of_three_principles_is_drawn_as_often_as_its_weight_says() -> None:
    """1, 1 and 2 of 4: of two principles other rules do the same, of three they do not."""
    weights = {"brief": 1.0, "kind": 1.0, "true": 2.0}
    constitution = Constitution(
        principles=tuple(Principle(id=name, text=name, weight=weight) for name, weight in weights.items())
    )
    draws = [draw_principle(str(number), constitution).id for number in range(8000)]
    for name, weight in weights.items():
        assert draws.count(name) / 8000 == pytest.approx(weight / 4, abs=0.0224)  # 4 standard errors of 1/2


def test_the_same_principles_are_drawn_in_every_version() -> None:
    """Judges were paid for the verdicts by them."""
    weights = {"brief": 1.0, "kind": 3.0, "true": 1.0}
    constitution = Constitution(
        principles=tuple(Principle(id=name, text=name, weight=weight) for name, weight in weights.items())
    )
    drawn = "".join(draw_principle(str(number), constitution).id[0] for number in range(24))
    assert drawn == "kbbkbbkkbkkttkktbkkbkbkk"


@pytest.mark.parametrize(("text", "is_there"), [("No, it is rude.", True), (" \n", False), ("", False)])
def test_what_a_writer_wrote_is_there_if_it_is_not_blank(text: str, is_there: bool) -> None:
    profile = make_profile(load_template("critique", forms=["critique"]))
    assert is_settled(Reply(call_id="c", status="ok", text=text), profile, retry_unparsed=True) is is_there
    assert not is_settled(
        Reply(call_id="c", status="failed", reason="no answer"), profile, retry_unparsed=True
    )


def test_repeats_and_juries_ask_the_same_again_under_names_of_their_own(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    jury = (
        replace(profile, repeats=3),
        replace(profile, name="other", fingerprint=Digest.from_bytes(b"other")),
    )
    questions = plan(constitution, *jury)
    assert len({question.verdict_id for question in questions}) == len(questions) == 8 * 3 + 8
    assert [question.pair for question in questions] == [PAIRS[0]] * 16 + [PAIRS[1]] * 16


def test_a_rating_judge_is_asked_about_each_answer_once_for_all_pairs_and_orders(
    journal: Journal, constitution: Constitution
) -> None:
    profile = make_profile(load_template("rating"))
    questions = plan(constitution, profile)
    assert [call.texts["answer"] for call in questions[1].calls] == ["Like that.", "So."]
    result, verdicts = ask(questions, profile, LongerWins(), journal)
    assert (result.num_asked, len(verdicts)) == (3 * 2, 8)  # three answers by two principles
    assert [verdict.verdict for verdict in verdicts[:2]] == ["second", "first"]
    assert {verdict.verdict for verdict in verdicts if verdict.response_b == "r3"} == {
        "tie"
    }  # 3 letters each
    assert all(verdict.p_first is None and len(verdict.answers) == 2 for verdict in verdicts)


def test_only_what_is_new_is_asked_again(
    profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    first, verdicts = ask(plan(constitution, profile), profile, LongerWins(), journal)
    assert (first.num_asked, first.num_reused, first.input_tokens, first.output_tokens) == (8, 0, 40, 8)
    again, same = ask(plan(constitution, profile), profile, LongerWins(forget=["all"]), journal)
    assert (again.num_asked, again.num_reused, again.input_tokens) == (0, 8, 0)
    assert same == verdicts

    reweighted = Constitution(principles=tuple(replace(p, weight=7.0) for p in constitution.principles))
    assert ask(plan(reweighted, profile), profile, LongerWins(), journal)[0].num_asked == 0

    brief, kind = constitution.principles
    edited = Constitution(principles=(brief, replace(kind, text="Be very kind.")))
    assert ask(plan(edited, profile), profile, LongerWins(), journal)[0].num_asked == 4


def test_answers_of_earlier_versions_are_taken_as_far_as_they_are_needed(
    profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    questions = plan(constitution, profile)
    answers = list(chain.from_iterable(LongerWins().ask(list_calls(questions))))
    opened: list[int] = []

    def earlier() -> Iterator[list[Reply]]:
        for number, batch in enumerate((answers[:3], answers[2:], answers)):
            opened.append(number)
            yield batch

    result, verdicts = ask(questions, profile, LongerWins(forget=["all"]), journal, earlier=earlier)
    assert (result.num_asked, result.num_reused, opened) == (0, 8, [0, 1])
    assert {verdict.status for verdict in verdicts} == {"ok"}


def test_failures_are_rows_and_are_retried_alone(
    profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    questions = plan(constitution, profile)
    bad = [call.call_id for call in list_calls(questions[2:4])]
    _, verdicts = ask(questions, profile, LongerWins(fail=bad), journal)
    assert [verdict.status for verdict in verdicts] == ["ok"] * 2 + ["failed"] * 2 + ["ok"] * 4
    assert [verdict.verdict_id for verdict in verdicts] == [question.verdict_id for question in questions]
    assert verdicts[2].answers[0].reason == "no answer"

    judge = LongerWins()
    second, verdicts = ask(questions, profile, judge, journal)
    assert sorted(judge.asked) == sorted(bad)
    assert (second.num_asked, second.num_reused) == (2, 6)
    assert {verdict.status for verdict in verdicts} == {"ok"}


@pytest.mark.parametrize(
    ("status", "text"),
    [("ok", "Both are good."), ("ok", ""), ("refused", None), ("failed", "Verdi"), ("failed", "")],
)
def test_a_reply_without_a_verdict_is_paid_for_again_only_if_that_is_asked_for(
    profile: JudgeProfile,
    constitution: Constitution,
    journal: Journal,
    status: ReplyStatus,
    text: str | None,
) -> None:
    """A reply that was cut off has failed with what was written, were it nothing; where none came, there is no text."""
    questions = plan(constitution, profile)
    unclear = [Reply(call_id=call.call_id, status=status, text=text) for call in list_calls(questions)]
    result, verdicts = ask(questions, profile, LongerWins(), journal, earlier=lambda: [unclear])
    assert result.num_asked == 0
    assert {verdict.status for verdict in verdicts} == {"unparsed" if status == "ok" else status}
    assert not any(verdict.is_missing for verdict in verdicts)
    result, verdicts = ask(questions, profile, LongerWins(), journal, retry_unparsed=True)
    assert result.num_asked == 8
    assert {verdict.status for verdict in verdicts} == {"ok"}


def test_the_same_question_in_two_pairs_is_asked_once(
    profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    questions = plan(constitution, profile, texts={**TEXTS, "r3": TEXTS["r2"]})
    result, verdicts = ask(questions, profile, LongerWins(), journal)
    assert result.num_asked == 4
    assert [verdict.pair_id for verdict in verdicts] == [question.pair.pair_id for question in questions]
    assert [verdict.response_b for verdict in verdicts] == ["r2"] * 4 + ["r3"] * 4


def test_a_judge_that_leaves_a_call_out_or_makes_one_up_is_an_error(
    profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    questions = plan(constitution, profile)
    forgetful = LongerWins(forget=[questions[0].calls[0].call_id])
    with pytest.raises(JudgeError, match="1 of 8 calls have no answer"):
        ask(questions, profile, forgetful, journal)

    class Talker(LongerWins):
        def ask(self, calls: Iterable[Call]) -> Iterator[list[Reply]]:
            yield from super().ask(calls)
            yield [Reply(call_id="other", status="ok", text="A")]

    with pytest.raises(JudgeError, match="was not asked"):
        ask(questions, profile, Talker(), journal)


def test_the_verdict_key_covers_judge_texts_principle_order_and_repeat(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    base = {question.verdict_id for question in plan(constitution, profile)}
    other = replace(profile, fingerprint=Digest.from_bytes(b"other"))
    assert not base & {question.verdict_id for question in plan(constitution, other)}
    longer = Constitution(principles=(*constitution.principles, Principle(id="z", text="Z.", weight=1.0)))
    assert base < {question.verdict_id for question in plan(longer, profile)}
    assert base < {question.verdict_id for question in plan(constitution, replace(profile, repeats=2))}
    same_text = plan(constitution, profile, texts=dict.fromkeys(TEXTS, "same"))
    assert same_text[0].verdict_id != same_text[1].verdict_id  # only the order differs
    assert same_text[0].calls == same_text[1].calls


def test_verdicts_survive_the_table(
    tmp_path: Path, profile: JudgeProfile, constitution: Constitution, journal: Journal
) -> None:
    questions = plan(constitution, profile)
    _, verdicts = ask(questions, profile, LongerWins(fail=[questions[0].calls[0].call_id]), journal)
    path = tmp_path / "judgements.parquet"
    write_table(path, (verdict.to_row() for verdict in verdicts), judgements_schema())
    assert [Verdict.from_row(row) for row in read_table(path)] == verdicts


def test_a_status_and_a_preference_that_contradict_are_refused(
    profile: JudgeProfile, constitution: Constitution
) -> None:
    question = plan(constitution, profile)[0]
    verdict = conclude(question, profile, [Reply(call_id="c", status="ok", text="A")])
    for fields in (
        {"verdict": None},
        {"status": "failed"},
        {"status": "unparsed", "verdict": None, "p_first": 0.5},
        {"p_first": 1.5},
    ):
        with pytest.raises(ValueError, match="status"):
            replace(verdict, **fields)
    with pytest.raises(ValueError, match="there is no answer"):
        Reply(call_id="c", status="ok")


@given(st.floats(0, 1), st.sampled_from(["A", "B", "C", None]))
def test_a_probability_is_the_verdict_and_else_the_text_is(score: float, text: str | None) -> None:
    profile = make_profile(load_template("compact"))
    constitution = Constitution(principles=(Principle(id="a", text="x", weight=1.0),))
    question = plan(constitution, profile)[0]
    verdict = conclude(question, profile, [Reply(call_id="c", status="ok", score=score, text=text)])
    assert verdict.probability_first == verdict.p_first == score
    assert (verdict.principle_id, verdict.order, verdict.pair_id) == ("a", "ab", PAIRS[0].pair_id)
    if text is not None:
        verdict = conclude(question, profile, [Reply(call_id="c", status="ok", text=text)])
        assert verdict.p_first is None  # a text says no probability
        assert (verdict.status, verdict.probability_first) == {
            "A": ("ok", 1.0),
            "B": ("ok", 0.0),
            "C": ("unparsed", None),
        }[text]


@pytest.mark.parametrize(
    ("statuses", "expected"), [(("failed", "ok"), "failed"), (("ok", "refused"), "refused")]
)
def test_of_two_ratings_one_that_is_missing_leaves_no_verdict(
    constitution: Constitution, statuses: tuple[Any, Any], expected: str
) -> None:
    profile = make_profile(load_template("rating"))
    question = plan(constitution, profile)[0]
    answers = [Reply(call_id="c", status=status, text="5" if status == "ok" else None) for status in statuses]
    assert conclude(question, profile, answers).status == expected


@pytest.mark.parametrize(
    ("ratings", "verdict"),
    [((2.75, 2.25), "first"), ((2.25, 2.75), "second"), ((2.999, 3.0), "second"), ((2.5, 2.5), "tie")],
)
def test_of_two_fractional_ratings_the_higher_wins(
    constitution: Constitution, ratings: tuple[float, float], verdict: str
) -> None:
    """Such as the expected values of numbers under their probabilities; there is no P(first) in them."""
    profile = make_profile(load_template("rating"))
    question = plan(constitution, profile)[0]
    answers = [Reply(call_id="c", status="ok", score=rating) for rating in ratings]
    concluded = conclude(question, profile, answers)
    assert (concluded.verdict, concluded.p_first, concluded.status) == (verdict, None, "ok")
