from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.judge import Judge, collect_judgements, plan_requests
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.settings import JudgingProtocol
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import JudgeRequest, Preference, Verdict, judgements_schema
from rlaif_dagster.progress import Progress
from rlaif_dagster.tables import read_table, write_table

PAIRS = (Pair.from_responses("p1", "r1", "r2"), Pair.from_responses("p1", "r1", "r3"))
PROMPTS = {"p1": "How?"}
TEXTS = {"r1": "So.", "r2": "Like that.", "r3": "No."}


class LongerWins:
    """A judge that prefers the longer line; it fails on requests in `fail` and forgets those in `forget`."""

    name = "longer"
    fingerprint = Digest.from_bytes(b"longer")

    def __init__(self, *, fail: Sequence[str] = (), forget: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.fail = set(fail)
        self.forget = set(forget)

    def judge(self, requests: Sequence[JudgeRequest], progress: Progress) -> Iterator[Verdict]:
        for request in reversed(requests):
            self.asked.append(request.verdict_id)
            if request.verdict_id in self.forget:
                continue
            if request.verdict_id in self.fail:
                yield Verdict.from_request(request, judge=self.name, status="failed", raw_text="no answer")
                continue
            lines = request.messages[0]["content"].splitlines()
            verdict: Preference = "first" if len(lines[2]) > len(lines[3]) else "second"
            yield Verdict.from_request(request, judge=self.name, status="ok", verdict=verdict)


def plan(
    template: Template,
    constitution: Constitution,
    protocol: JudgingProtocol = "per_principle",
    texts: dict[str, str] = TEXTS,
) -> list[JudgeRequest]:
    return list(
        plan_requests(
            PAIRS,
            constitution,
            template,
            protocol,
            judge_fingerprint=LongerWins.fingerprint,
            prompts=PROMPTS,
            texts=texts,
        )
    )


def test_each_pair_is_asked_in_both_orders_by_each_principle(
    compact: Template, constitution: Constitution
) -> None:
    requests = plan(compact, constitution)
    assert len({request.verdict_id for request in requests}) == len(requests) == 2 * 2 * 2
    first, second = requests[:2]
    assert (first.order, first.principle_id) == ("ab", "brief")
    assert first.messages[0]["content"] == "Rule: Be brief.\nAsk: How?\nA: So.\nB: Like that.\nBetter:"
    assert second.messages[0]["content"] == "Rule: Be brief.\nAsk: How?\nA: Like that.\nB: So.\nBetter:"


def test_the_joint_protocol_asks_once_an_order_with_every_principle(
    compact: Template, constitution: Constitution
) -> None:
    requests = plan(compact, constitution, "joint")
    assert [request.principle_id for request in requests] == [None] * 4
    assert "Be brief. (weight 1) - Be kind. (weight 3)" in requests[0].messages[0]["content"]


def test_only_what_is_new_is_asked_again(compact: Template, constitution: Constitution) -> None:
    first = collect_judgements(plan(compact, constitution), LongerWins(), {})
    assert (first.num_asked, first.num_reused, first.by_status) == (8, 0, {"ok": 8})
    known = {verdict.verdict_id: verdict for verdict in first.verdicts}

    again = collect_judgements(plan(compact, constitution), LongerWins(), known)
    assert (again.num_asked, again.num_reused) == (0, 8)
    assert again.verdicts == first.verdicts

    reweighted = Constitution(principles=tuple(replace(p, weight=7.0) for p in constitution.principles))
    assert collect_judgements(plan(compact, reweighted), LongerWins(), known).num_asked == 0

    brief, kind = constitution.principles
    edited = Constitution(principles=(brief, replace(kind, text="Be very kind.")))
    assert collect_judgements(plan(compact, edited), LongerWins(), known).num_asked == 4


def test_failures_are_rows_and_are_retried_alone(compact: Template, constitution: Constitution) -> None:
    requests = plan(compact, constitution)
    bad = [request.verdict_id for request in requests[2:4]]
    saved: list[Verdict] = []
    first = collect_judgements(requests, LongerWins(fail=bad), {}, save=saved.append)
    assert first.by_status == {"failed": 2, "ok": 6}
    assert [verdict.verdict_id for verdict in first.verdicts] == [request.verdict_id for request in requests]
    assert sorted(verdict.verdict_id for verdict in saved) == sorted(r.verdict_id for r in requests)

    judge = LongerWins()
    second = collect_judgements(requests, judge, {verdict.verdict_id: verdict for verdict in first.verdicts})
    assert sorted(judge.asked) == sorted(bad)
    assert (second.num_asked, second.num_reused, second.by_status) == (2, 6, {"ok": 8})


def test_the_same_question_in_two_pairs_is_asked_once(compact: Template, constitution: Constitution) -> None:
    requests = plan(compact, constitution, texts={**TEXTS, "r3": TEXTS["r2"]})
    result = collect_judgements(requests, LongerWins(), {})
    assert result.num_asked == 4
    assert [verdict.pair_id for verdict in result.verdicts] == [request.pair.pair_id for request in requests]
    assert [verdict.response_b for verdict in result.verdicts] == ["r2"] * 4 + ["r3"] * 4


def test_a_judge_that_leaves_a_request_out_is_an_error(compact: Template, constitution: Constitution) -> None:
    requests = plan(compact, constitution)
    with pytest.raises(JudgeError, match="1 of 8 requests have no verdict"):
        collect_judgements(requests, LongerWins(forget=[requests[0].verdict_id]), {})


def test_the_verdict_key_covers_judge_texts_principle_and_order(
    compact: Template, constitution: Constitution
) -> None:
    base = {request.verdict_id for request in plan(compact, constitution)}
    other_judge = plan_requests(
        PAIRS,
        constitution,
        compact,
        "per_principle",
        judge_fingerprint=Digest.from_bytes(b"other"),
        prompts=PROMPTS,
        texts=TEXTS,
    )
    assert not base & {request.verdict_id for request in other_judge}
    longer = Constitution(principles=(*constitution.principles, Principle(id="z", text="Z.", weight=1.0)))
    assert base < {request.verdict_id for request in plan(compact, longer)}
    same_text = plan(compact, constitution, texts=dict.fromkeys(TEXTS, "same"))
    assert same_text[0].verdict_id != same_text[1].verdict_id  # only the order differs


def test_verdicts_survive_the_table(tmp_path: Path, compact: Template, constitution: Constitution) -> None:
    requests = plan(compact, constitution)
    result = collect_judgements(requests, LongerWins(fail=[requests[0].verdict_id]), {})
    path = tmp_path / "judgements.parquet"
    write_table(path, (verdict.to_row() for verdict in result.verdicts), judgements_schema())
    assert tuple(Verdict.from_row(row) for row in read_table(path)) == result.verdicts


def test_a_status_and_a_preference_that_contradict_are_refused(
    compact: Template, constitution: Constitution
) -> None:
    request = plan(compact, constitution)[0]
    for fields in (
        {"status": "ok"},
        {"status": "failed", "verdict": "tie"},
        {"status": "unparsed", "p_first": 0.5},
        {"status": "ok", "verdict": "first", "p_first": 1.5},
    ):
        with pytest.raises(ValueError, match="status"):
            Verdict.from_request(request, judge="j", **fields)


def test_the_class_here_is_a_judge() -> None:
    judge: Judge = LongerWins()
    assert judge.name == "longer"
