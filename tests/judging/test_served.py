"""What is sent, and what every kind of reply means."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.providers.openai import OpenAIJudgeSettings
from rlaif_dagster.judging.served import JudgeChat, read_score
from rlaif_dagster.judging.templates import Template, TemplateMessage, load_template
from rlaif_dagster.serving.calls import TokenLogprob
from rlaif_dagster.serving.exchange import LONGEST_REASON, Request, read_retry_after
from rlaif_dagster.serving.faults import Fault
from rlaif_dagster.serving.replies import NO_USAGE, Usage

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CALL = Call(
    call_id="c",
    texts={"principle": "Be brief.", "prompt": "How?", "first": "So.", "second": "Thus."},
    repeat=3,
)
RATING = Template(
    name="rate",
    messages=(TemplateMessage(role="user", content="{{ principle }}{{ prompt }}{{ answer }}"),),
    verdicts={},
    scale=(1, 3),
    verdict_line=None,
)
KEY = "sk-canary-0123456789"


def make_chat(*, key: str | None = None, template: Template | None = None, **fields: Any) -> JudgeChat:
    settings = OpenAIJudgeSettings.model_validate({"provider": "openai", "model": "m", **fields})
    return JudgeChat(settings, template or load_template("compact"), key=key)


def read(
    chat: JudgeChat,
    reply: object,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    call: Call = CALL,
) -> Reply | Fault:
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    written, was_cut = chat.write_call(call)
    outcome = chat.exchange.read(chat.exchange.encode(written), status, headers or {}, body, NOW)
    return outcome if isinstance(outcome, Fault) else chat.read_outcome(outcome, was_cut=was_cut)


def encode(chat: JudgeChat, call: Call = CALL) -> Request:
    return chat.exchange.encode(chat.write_call(call)[0])


def complete(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }


def list_logprobs(**probabilities: float) -> dict[str, Any]:
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in probabilities.items()]
    reply = complete("A", finish="length")
    reply["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": 0.0, "top_logprobs": top}]}
    return reply


def test_a_written_verdict_is_asked_for_with_the_settings_and_the_repeat_as_seed() -> None:
    request = encode(make_chat(temperature=0.5, max_tokens=9))
    assert json.loads(request.body) == {
        "model": "m",
        "messages": load_template("compact").render(CALL.texts),
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
    }
    assert (request.most_input_tokens, request.most_output_tokens) == (len(request.body), 9)


def test_probabilities_are_asked_for_one_token_at_temperature_1() -> None:
    request = encode(make_chat(verdict="logprob"))
    sent = json.loads(request.body)
    assert {name: sent[name] for name in ("logprobs", "top_logprobs", "max_tokens", "temperature")} == {
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 1,
        "temperature": 1,
    }
    assert request.most_output_tokens == 1


def test_more_fields_go_into_the_request_and_null_takes_one_out() -> None:
    sent = json.loads(encode(make_chat(extra_body={"top_k": 1, "seed": None})).body)
    assert sent["top_k"] == 1
    assert "seed" not in sent


@pytest.mark.parametrize(("verdict", "most"), [("text", 50), ("logprob", 1)])
def test_the_longest_reply_is_asked_for_by_the_servers_name_for_it(verdict: str, most: int) -> None:
    """Once, so that what a budget sets aside is what the server keeps to."""
    chat = make_chat(verdict=verdict, max_tokens=50, max_tokens_name="max_completion_tokens")
    request = encode(chat)
    sent = json.loads(request.body)
    assert sent["max_completion_tokens"] == request.most_output_tokens == most
    assert "max_tokens" not in sent


@pytest.mark.parametrize("value", [None, 1])
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("messages", "template"),
        ("n", "repeats"),
        ("best_of", "repeats"),
        ("logprobs", "verdict"),
        ("max_tokens", "max_tokens, and max_tokens_name"),
        ("max_completion_tokens", "max_tokens, and max_tokens_name"),
        ("max_new_tokens", "max_tokens, and max_tokens_name"),
    ],
)
def test_what_a_reply_can_cost_is_set_in_one_place(name: str, instead: str, value: int | None) -> None:
    """Not taken out by null either: then a reply could be longer than a budget sets aside."""
    with pytest.raises(
        ValueError,
        match=rf"'{name}' is set by another field; remedy: remove it from extra_body; set {instead}.*asked again",
    ):
        make_chat(extra_body={name: value})


def test_long_answers_are_cut_and_marked() -> None:
    cut, was_cut = make_chat(max_answer_chars=4).write_call(CALL)
    _, was_whole_cut = make_chat(max_answer_chars=5).write_call(CALL)
    assert (was_cut, was_whole_cut) == (True, False)
    assert "Thus." not in str(cut.messages)


def test_an_answer_has_its_text_and_its_tokens() -> None:
    assert read(make_chat(), complete("A")) == Reply(
        call_id="c", status="ok", text="A", input_tokens=7, output_tokens=2
    )
    assert read(make_chat(), {"choices": [{"message": {"content": None}}], "usage": None}) == Reply(
        call_id="c", status="ok", text=""
    )


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (complete("Verdict: 1", finish="length"), "failed", "cut off"),
        (complete(None, finish="content_filter"), "refused", "content filter"),
        (complete(None, refusal="I can't help with that."), "refused", "I can't help"),
    ],
)
def test_an_answer_that_is_none_says_why(reply: dict[str, Any], status: str, reason: str) -> None:
    answer = read(make_chat(), reply)
    assert isinstance(answer, Reply)
    assert answer.status == status
    assert reason in (answer.reason or "")
    assert answer.input_tokens == 7


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        (" A", ("A", "B"), "ok"),
        ("A", ("A", "AB"), "failed"),  # it may have gone on
        ("A and", ("A", "B"), "failed"),
        ("", ("A", "B"), "failed"),
    ],
)
def test_an_answer_that_was_cut_off_counts_if_it_can_be_nothing_but_a_verdict(
    text: str, words: tuple[str, str], status: str
) -> None:
    template = replace(load_template("compact"), verdicts={"first": words[0], "second": words[1]})
    answer = read(make_chat(template=template), complete(text, finish="length"))
    assert isinstance(answer, Reply)
    assert (answer.status, answer.text) == (status, text)
    lined = replace(template, verdict_line="Verdict:")
    answer = read(make_chat(template=lined), complete(f"Verdict: {text}", finish="length"))
    assert isinstance(answer, Reply)
    assert answer.status == "failed"


def test_a_filtered_request_is_a_refusal() -> None:
    answer = read(make_chat(), {"error": {"code": "content_filter", "message": "hate"}}, 400)
    assert isinstance(answer, Reply)
    assert answer.status == "refused"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"choices": []}', b'{"choices": [{}]}', b'{"error": {}}', b'"\xff"'],
)
def test_what_is_no_completion_may_pass_and_costs_nothing(body: bytes) -> None:
    fault = read(make_chat(), body)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.is_spent, fault.usage) == ("passing", False, NO_USAGE)


def test_a_reply_that_breaks_off_may_have_been_billed() -> None:
    fault = read(make_chat(), json.dumps(complete("A")).encode()[:40])
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.is_spent) == ("passing", True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, "fatal") for status in (301, 302, 307, 401, 402, 403, 404, 405)),
        *((status, "passing") for status in (408, 409, 425, 500, 502, 504)),
        *((status, "lasting") for status in (400, 413, 415, 422, 451)),
        *((status, "busy") for status in (429, 503, 529)),
    ],
)
def test_every_status_is_tried_again_only_if_it_may_pass(status: int, kind: str) -> None:
    fault = read(make_chat(), {"error": {"message": "no\n such thing"}}, status)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.reason, fault.is_spent) == (kind, f"HTTP {status}: no such thing", False)


def test_a_quota_that_is_used_up_does_not_pass() -> None:
    fault = read(make_chat(), {"error": {"message": "pay", "code": "insufficient_quota"}}, 429)
    assert isinstance(fault, Fault)
    assert fault.kind == "fatal"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long"}},
        {"error": "too long"},
        {"detail": "too long"},
        {"message": "too long", "code": 400},
        b"too long",
    ],
)
def test_servers_say_why_in_several_places(body: object) -> None:
    fault = read(make_chat(), body, 400)
    assert isinstance(fault, Fault)
    assert fault.reason == "HTTP 400: too long"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 13:00:10 +0100", 10.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": said}, NOW) == seconds


def test_only_faults_that_may_pass_ask_to_wait() -> None:
    headers = {"retry-after": "7"}
    waits = {
        status: fault.wait_seconds
        for status in (400, 429, 503)
        if isinstance(fault := read(make_chat(), b"", status, headers), Fault)
    }
    assert waits == {400: None, 429: 7.0, 503: 7.0}


def test_probabilities_become_a_score() -> None:
    """A has 0.5 + 0.1 (with a blank before it), B 0.2, the rest 0.1: 0.6 / 0.8."""
    chat = make_chat(verdict="logprob")
    answer = read(chat, list_logprobs(**{"A": 0.5, "B": 0.2, " A": 0.1, "The": 0.1, "a": 0.05}))
    assert answer == Reply(call_id="c", status="ok", score=0.75, input_tokens=7, output_tokens=2)


def test_a_rating_is_the_expected_value_on_its_scale() -> None:
    """1 x 0.2 + 2 x 0.2 + 3 x 0.4 over 0.8."""
    assert read_score(
        [TokenLogprob(token=t, logprob=math.log(p)) for t, p in (("1", 0.2), ("2", 0.2), (" 3", 0.4))],
        {"1": 1.0, "2": 2.0, "3": 3.0},
    ) == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        ({"A": 0.9, "C": 0.05, "D": 0.001}, 1.0),  # B has at most 0.001 of 0.9: little to doubt
        ({"A": 0.9, "C": 0.05, "D": 0.02}, None),  # B may have 0.02
        ({"C": 0.9, "D": 0.1}, None),
        ({"A": 1e-9, "B": 1e-9, "C": 1.0}, 0.5),
    ],
)
def test_a_word_that_is_not_listed_counts_as_none_only_if_it_hardly_matters(
    probabilities: dict[str, float], score: float | None
) -> None:
    top = [TokenLogprob(token=token, logprob=math.log(p)) for token, p in probabilities.items()]
    assert read_score(top, {"A": 1.0, "B": 0.0}) == score


@pytest.mark.parametrize(
    ("num_words", "score"),
    [
        (2, 1.0),  # one word has at most 0.004, and 0.01 of 0.9 is 0.009
        (3, 1.0),  # two have at most 0.008
        (4, None),  # three may have 0.012
    ],
)
def test_each_word_that_is_not_listed_may_have_as_much_as_the_least_that_is(
    num_words: int, score: float | None
) -> None:
    top = [TokenLogprob(token=token, logprob=math.log(p)) for token, p in (("1", 0.9), ("The", 0.004))]
    assert read_score(top, {str(word): float(word) for word in range(1, num_words + 1)}) == score


def test_probabilities_without_a_verdict_are_unparsed_not_a_guess() -> None:
    from rlaif_dagster.judging.reading import read_verdict

    answer = read(make_chat(verdict="logprob"), list_logprobs(A=0.1, The=0.5, I=0.05))
    assert isinstance(answer, Reply)
    assert (answer.status, answer.score, answer.text) == (
        "ok",
        None,
        "next token: 'The' 0.5, 'A' 0.1, 'I' 0.05",
    )
    assert read_verdict(answer.text or "", load_template("compact")) is None


def test_a_reply_without_probabilities_may_pass_and_costs_what_it_took() -> None:
    """A server that gives none ten times before it gave any gives none at all."""
    fault = read(make_chat(verdict="logprob"), complete("A"))
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.stops_after) == ("passing", 10)
    assert fault.usage == Usage(prompt_tokens=7, completion_tokens=2)
    assert "verdict to text" in fault.remedy


def test_the_key_is_taken_out_of_all_that_a_server_says() -> None:
    chat = make_chat(key=KEY)
    said = [
        read(chat, complete(f"A {KEY}")),
        read(chat, complete(None, refusal=f"No, Bearer {KEY}")),
        read(chat, {"error": {"message": f"Bearer {KEY}"}}, 400),
        read(chat, {"detail": [{"headers": KEY}]}, 422),
        read(chat, KEY.encode(), 500),
        read(chat, {"error": {"message": "x" * (LONGEST_REASON - 5) + KEY}}, 400),
        read(make_chat(key=KEY, verdict="logprob"), list_logprobs(**{KEY: 1.0})),
    ]
    assert not [outcome for outcome in said if KEY[:5] in repr(outcome)]
    assert "[key]" in repr(said[0])


def test_a_placeholder_for_a_key_is_no_secret() -> None:
    answer = read(make_chat(key="EMPTY"), complete("EMPTY"))
    assert isinstance(answer, Reply)
    assert answer.text == "EMPTY"


def test_ratings_are_read_from_probabilities_of_their_numbers() -> None:
    chat = make_chat(template=RATING, verdict="logprob")
    call = Call(call_id="c", texts={"principle": "p", "prompt": "q", "answer": "a"}, repeat=0)
    answer = read(chat, list_logprobs(**{"1": 0.25, "2": 0.25, "3": 0.5}), call=call)
    assert isinstance(answer, Reply)
    assert answer.score == 2.25
