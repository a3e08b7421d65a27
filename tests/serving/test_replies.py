"""Every odd reply x every reading: what comes of it, what is charged, and how many requests it takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

import pytest

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.generation.dialogues import Completion
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.served import make_exchange, read_completion
from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.providers.openai import OpenAIJudgeSettings
from rlaif_dagster.judging.questions import read_value
from rlaif_dagster.judging.served import ServedJudge
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.serving.calls import ChatCall, ChatFailure, ChatReply
from rlaif_dagster.serving.client import Client
from rlaif_dagster.serving.engine import Engine
from rlaif_dagster.serving.exchange import Exchange, Remedies
from rlaif_dagster.serving.faults import FEW_REFUSALS, SEVERAL_REFUSALS, Fault
from rlaif_dagster.serving.formats import CHAT_COMPLETIONS, ChatCompletions, ChatFormat, ChatSettings
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings, LimitSettings
from tests.serving.odd_replies import (
    FAULTS,
    GOOD,
    HOPELESS,
    MIXED,
    OF_THE_REQUEST,
    READ,
    SAID,
    SPOILT,
    TELLING,
    WRITTEN,
    OddReply,
)
from tests.serving.reply_server import ReplyServer, serve_replies

TEMPLATES = {"logprob": "pairwise", "text": "pairwise", "reasoned": "reasoned", "rating": "rating"}
VALUES = {"logprob": pytest.approx(0.9 / 0.95, abs=2e-2), "text": 1.0, "reasoned": 1.0, "rating": 7.0}
READINGS = tuple(SAID)
ATTEMPTS = 2
PLAIN = GOOD[0]


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a reply in one reading."""

    result: str
    tokens: tuple[int | None, int | None]
    reason: str


def ask(
    reading: str,
    server: ReplyServer,
    names: Iterable[str],
    *,
    concurrency: int = 4,
    budget: Budget | None = None,
) -> Iterator[tuple[str, Cell]]:
    """Asks for replies by their names, in order; gives what comes of each."""
    limits = LimitSettings(concurrency=concurrency, max_attempts=ATTEMPTS)
    budget = budget or Budget(BudgetSettings())
    if reading == "sampling":
        exchange = make_exchange(reading, LocalSamplingSettings(max_new_tokens=5000))
        engine = Engine(
            Client(f"{server.url}/chat/completions", exchange),
            exchange,
            who="the policy's server",
            limits=limits,
            price=None,
            budget=budget,
        )
        calls = (
            ChatCall(
                call_id=f"{place} {name}", messages=[{"role": "user", "content": f"reply: {name}."}], seed=0
            )
            for place, name in enumerate(names)
        )
        for outcome in chain.from_iterable(engine.ask(calls)):
            read, tokens = read_completion(outcome), (outcome.prompt_tokens, outcome.completion_tokens)
            if isinstance(read, ChatFailure):
                yield outcome.call_id.partition(" ")[2], Cell(read.kind, tokens, read.reason)
                continue
            assert isinstance(read, Completion)
            assert SAID[reading] in read.text or not read.text
            result = "good" if read.finish_reason == "stop" else "cut"
            yield outcome.call_id.partition(" ")[2], Cell(result, tokens, "")
        return
    settings = OpenAIJudgeSettings(
        provider="openai",
        model=reading,
        base_url=server.url,
        api_key_env=None,
        template=TEMPLATES[reading],
        verdict="logprob" if reading == "logprob" else "text",
        max_tokens=5000,
        limits=limits,
    )
    template = load_template(TEMPLATES[reading])
    profile = JudgeProfile.from_settings(settings, template, model=None)
    texts = {"principle": "Be brief.", "first": "So.", "second": "Thus.", "answer": "So."}
    asked = (
        Call(call_id=f"{place} {name}", texts={**texts, "prompt": f"reply: {name}."}, repeat=0)
        for place, name in enumerate(names)
    )
    for answer in chain.from_iterable(
        ServedJudge(settings, template, budget=budget, environment={}).ask(asked)
    ):
        value = read_value(profile, answer) if answer.status == "ok" else None
        result = answer.status if answer.status != "ok" else "unparsed" if value is None else "good"
        assert result != "good" or value == VALUES[reading]
        tokens = (answer.input_tokens, answer.output_tokens)
        yield answer.call_id.partition(" ")[2], Cell(result, tokens, answer.reason or "")


def multiply(tokens: tuple[int | None, int | None], times: int) -> tuple[int | None, int | None]:
    read, written = (None if count is None else count * times for count in tokens)
    return read, written


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
def test_an_odd_reply_is_read_charged_and_retried_as_it_deserves_and_stops_nothing(reading: str) -> None:
    """Each stands between two plain ones; the rows say what the server said."""
    assert len(MIXED) >= 60
    wrong = []
    with serve_replies(*MIXED) as server:
        names = [name for reply in MIXED for name in (PLAIN.name, reply.name)]
        cells = dict(ask(reading, server, names))
        assert server.requests[reading, PLAIN.name] == len(MIXED) + 1
        for reply in MIXED[1:]:
            result = reply.expect(reading)
            is_retried = result == "failed" and (reply.retried or "log-prob" in reply.name)
            attempts = ATTEMPTS if is_retried else 1
            wanted = (result, multiply(reply.tokens, attempts), attempts)
            cell = cells[reply.name]
            found = (cell.result, cell.tokens, server.requests[reading, reply.name])
            if found != wanted or (result in ("failed", "refused") and reply.words not in cell.reason):
                wrong.append(f"{reply.name}: {found} {cell.reason!r}; wanted {wanted} {reply.words!r}")
    assert not wrong, "\n".join(wrong)


def ask_until_stopped(reading: str, reply: OddReply) -> int:
    """Asks 200 calls, which stop in the server's words and cost nothing; returns the number of requests."""
    budget = Budget(BudgetSettings())
    with serve_replies(reply) as server:
        with pytest.raises(JudgeError) as caught:
            list(ask(reading, server, [reply.name] * 200, concurrency=64, budget=budget))
        assert reply.words in str(caught.value)
    assert budget.spent.calls == 0
    return server.requests[reading, reply.name]


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("reply", HOPELESS, ids=lambda reply: reply.name)
def test_a_reply_that_says_that_no_call_can_be_answered_stops_at_once_in_the_servers_words(
    reading: str, reply: OddReply
) -> None:
    assert ask_until_stopped(reading, reply) <= 64  # 4, where the machine has nothing else to do


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("reply", OF_THE_REQUEST, ids=lambda reply: reply.name)
def test_a_request_that_the_server_does_not_take_is_not_sent_many_times(
    reading: str, reply: OddReply
) -> None:
    assert FEW_REFUSALS <= ask_until_stopped(reading, reply) <= 64  # 4, as above


class StrictFormat(ChatCompletions):
    """A plug-in's format, which reads no reply at all."""

    def read(self, call_id: str, body: bytes) -> ChatReply:
        raise KeyError(f"{call_id}: {body!r}")


@pytest.mark.parametrize("chat_format", [CHAT_COMPLETIONS, StrictFormat()], ids=["own", "plug-in"])
@pytest.mark.parametrize("reply", SPOILT, ids=lambda reply: reply.name)
def test_a_models_words_in_a_broken_reply_never_decide_what_kind_of_fault_it_is(
    reply: OddReply, chat_format: ChatFormat
) -> None:
    """They stand in the reason, and everything else is the same whatever they are."""
    exchange = Exchange(
        ChatSettings(model="m", temperature=0.5, max_tokens=9),
        key=None,
        remedies=Remedies(connection="c", key="k", request="r"),
        chat_format=chat_format,
    )
    request = exchange.encode(ChatCall(call_id="c", messages=[{"role": "user", "content": "?"}], seed=0))

    def read(said: str) -> Fault:
        fault = exchange.read(request, 200, {}, reply.make(said), datetime(2026, 1, 1, tzinfo=UTC))
        assert isinstance(fault, Fault), fault
        assert said in fault.reason
        return replace(fault, reason="")

    plain = read("The first answer is shorter")
    assert plain.kind == "passing"
    assert [said for said in TELLING if read(said) != plain] == []


@pytest.mark.parametrize("said", TELLING[:6:2])
def test_a_call_whose_reply_breaks_off_is_asked_again_whatever_the_model_said(said: str) -> None:
    half = SPOILT[0]
    broken = OddReply(name=half.name, make=lambda _: half.make(said))
    with serve_replies(broken, PLAIN) as server:
        cells = dict(ask("text", server, [half.name, PLAIN.name], concurrency=1))
        assert server.requests["text", half.name] == ATTEMPTS
    assert (cells[half.name].result, cells[PLAIN.name].result) == ("failed", "good")
    assert said in cells[half.name].reason


def test_one_reply_that_says_that_no_call_can_be_answered_is_not_believed_among_answers() -> None:
    """Three in a row are."""
    key = next(reply for reply in HOPELESS if reply.name == "HTTP 401")
    with serve_replies(PLAIN, key) as server:
        names = [PLAIN.name, key.name, PLAIN.name, PLAIN.name]
        cells = dict(ask("text", server, names, concurrency=1))
        assert (cells[key.name].result, server.requests["text", key.name]) == ("failed", ATTEMPTS)
        with pytest.raises(JudgeError, match="bad key"):
            list(ask("text", server, [PLAIN.name, *[key.name] * 9], concurrency=1))
        assert server.requests["text", key.name] == ATTEMPTS + 3


def test_a_server_that_never_gives_log_probabilities_is_found_out() -> None:
    silent = next(reply for reply in GOOD if reply.name == "log-probabilities null")
    budget = Budget(BudgetSettings())
    with serve_replies(silent) as server:
        with pytest.raises(JudgeError, match=r"no log-probabilities.*\n.*verdict to text"):
            list(ask("logprob", server, [silent.name] * 200, concurrency=64, budget=budget))
        num_requests = server.requests["logprob", silent.name]
        assert SEVERAL_REFUSALS <= num_requests <= 2 * SEVERAL_REFUSALS
    assert budget.spent.tokens == num_requests * (READ + WRITTEN)


def test_prompts_that_are_too_long_never_stop_a_judge() -> None:
    long = next(reply for reply in FAULTS if reply.name == "HTTP 400 too long, by max_tokens")
    with serve_replies(long, PLAIN) as server:
        cells = [cell.result for _, cell in ask("text", server, [long.name] * 40 + [PLAIN.name])]
        assert sorted(cells) == ["failed"] * 40 + ["good"]
        assert server.requests["text", long.name] == 40


def test_an_error_costs_what_the_server_counts_and_nothing_else() -> None:
    """Two attempts each: without usage nothing, with usage twice 7 + 2; half a JSON may have cost anything."""
    for name, calls, tokens in (
        ("error with a number", 0, 0),
        ("a web page", 0, 0),
        ("nothing", 0, 0),
        ("HTTP 400 of a filter", 0, 0),
        ("error with usage", 2, 18),
        ("finish_reason error", 2, 18),
    ):
        reply = next(one for one in FAULTS if one.name == name)
        budget = Budget(BudgetSettings())
        with serve_replies(reply) as server:
            list(ask("text", server, [reply.name], budget=budget))
        assert (budget.spent.calls, budget.spent.tokens) == (calls, tokens), name
