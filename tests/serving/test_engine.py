"""The engine against a real server process that fails as real servers do."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import BudgetError, JudgeError
from rlaif_dagster.judging.asking import AskedResult, ask_questions
from rlaif_dagster.judging.calls import Call, Judge, Reply
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.providers.openai import OpenAIJudgeSettings
from rlaif_dagster.judging.questions import Question, plan_questions
from rlaif_dagster.judging.served import ServedJudge
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.serving.client import _find_proxy
from rlaif_dagster.serving.engine import SILENT_CALLS
from rlaif_dagster.serving.faults import SEVERAL_REFUSALS
from tests.serving.fault_server import (
    FAULTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    RunningServer,
    name_model,
    run_server,
)

COMPACT = load_template("compact")
PRICE = {"input_per_million": 1.0, "output_per_million": 2.0, "currency": "EUR"}
KEY = "sk-canary-0123456789"


def make_settings(server: RunningServer, model: str = "usual", **fields: Any) -> OpenAIJudgeSettings:
    usual = {"base_url": server.url, "api_key_env": None, "max_tokens": 8, "price": PRICE}
    return OpenAIJudgeSettings.model_validate({"provider": "openai", "model": model, **usual, **fields})


def make_judge(
    server: RunningServer, model: str = "usual", *, environment: dict[str, str] | None = None, **fields: Any
) -> ServedJudge:
    return ServedJudge(make_settings(server, model, **fields), COMPACT, environment=environment or {})


def make_calls(number: int) -> list[Call]:
    return [
        Call(
            call_id=f"c{place}",
            texts={
                "principle": "The longer.",
                "prompt": f"Ask {place}",
                "first": "so " * (place % 7 + 1),
                "second": "no " * (place % 5 + 1),
            },
            repeat=0,
        )
        for place in range(number)
    ]


def find_truth(call: Call) -> str:
    return "A" if len(call.texts["first"].strip()) >= len(call.texts["second"].strip()) else "B"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose models behave as their names say."""
    with run_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.mark.slow
def test_every_call_is_answered_right_or_marked_and_no_success_is_repeated(server: RunningServer) -> None:
    calls = make_calls(600)
    model = name_model("faults", latency=0.02, **FAULTS)
    judge = make_judge(server, model, limits={"concurrency": 64, "timeout_seconds": 1.0})
    answers = {answer.call_id: answer for answer in chain.from_iterable(judge.ask(calls))}
    served = server.count_served(model)
    assert set(FAULTS) | {"ok"} == set(served)  # each kind of fault did happen
    assert set(answers) == {call.call_id for call in calls}
    assert {answer.status for answer in answers.values()} == {"ok"}
    malformed = [name for name, answer in answers.items() if answer.text == "Hard to say."]
    assert len(malformed) == served["malformed"]
    assert all(answers[c.call_id].text == find_truth(c) for c in calls if c.call_id not in malformed)
    answered = [
        line["request"]
        for line in server.read_log()
        if line["model"] == model and line["served"] in ("ok", "malformed")
    ]
    assert len(answered) == len(set(answered)) == 600


def test_what_fails_at_every_attempt_is_a_row_that_says_why(server: RunningServer) -> None:
    model = name_model("always", **{"503": 1.0})
    answers = list(
        chain.from_iterable(make_judge(server, model, limits={"max_attempts": 2}).ask(make_calls(3)))
    )
    assert server.count_served(model) == {"503": 6}
    assert {(answer.status, answer.reason) for answer in answers} == {
        ("failed", "HTTP 503: 503 for None (the last of 2 attempts)")
    }


def test_what_cannot_pass_is_not_tried_again(server: RunningServer) -> None:
    model = name_model("few", **{"400": 1.0})
    answers = list(chain.from_iterable(make_judge(server, model).ask(make_calls(5))))
    assert server.count_served(model) == {"400": 5}
    assert {(answer.status, answer.reason) for answer in answers} == {("failed", "HTTP 400: 400 for None")}


def test_a_judge_that_refuses_every_call_is_stopped_after_a_few(server: RunningServer) -> None:
    """Ten refusals that name no parameter, and nothing else, are no chance."""
    model = name_model("many", **{"400": 1.0})
    with pytest.raises(JudgeError, match=r": HTTP 400: 400 for None\.\n"):
        list(chain.from_iterable(make_judge(server, model, limits={"concurrency": 8}).ask(make_calls(1000))))
    assert server.count_served(model)["400"] <= SEVERAL_REFUSALS + 8


@pytest.mark.slow
def test_a_judge_that_fails_at_everything_is_stopped(server: RunningServer) -> None:
    model = name_model("down", **{"500": 1.0})
    limits = {"concurrency": 64, "max_attempts": 1}
    with pytest.raises(JudgeError, match=f"{SILENT_CALLS} calls in a row failed, the last with: HTTP 500"):
        list(chain.from_iterable(make_judge(server, model, limits=limits).ask(make_calls(1000))))
    assert server.count_served(model)["500"] <= SILENT_CALLS + 64


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 4])
def test_no_call_is_sent_again_into_the_queue_that_the_engine_made(server: RunningServer, slots: int) -> None:
    """Of 64 calls sent at once, the last waits for 64 / slots x 0.1 s, far longer than the time limit for one."""
    model = name_model(f"{slots} slots", latency=0.1, slots=slots)
    limits = {"timeout_seconds": 0.6}
    answers = list(chain.from_iterable(make_judge(server, model, limits=limits).ask(make_calls(80))))
    assert {answer.status for answer in answers} == {"ok"}
    assert server.count_served(model) == {"ok": 80}


@pytest.mark.slow
def test_a_server_that_takes_longer_than_the_time_limit_is_waited_for_longer(server: RunningServer) -> None:
    """The first attempts are late; one call at a time is then given twice the time, and the others are, too."""
    model = name_model("slow", latency=1.2, spread=0.0)
    limits = {"timeout_seconds": 1.0}
    answers = list(chain.from_iterable(make_judge(server, model, limits=limits).ask(make_calls(12))))
    assert {answer.status for answer in answers} == {"ok"}
    assert server.count_served(model)["ok"] <= 2 * 12


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_key_that_is_not_taken_stops_the_judge_and_is_not_told(server: RunningServer, status: str) -> None:
    model = name_model("closed", **{status: 1.0})
    fields = {"api_key_env": "JUDGE_KEY", "limits": {"concurrency": 4}}
    with pytest.raises(JudgeError, match="check the key in JUDGE_KEY") as caught:
        list(
            chain.from_iterable(
                make_judge(server, model, environment={"JUDGE_KEY": KEY}, **fields).ask(make_calls(100))
            )
        )
    assert server.count_served(model)[status] <= 4
    assert f"HTTP {status}: {status} for Bearer [key]" in str(caught.value)
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("environment", [{}, {"JUDGE_KEY": "  "}])
def test_a_key_that_is_missing_is_named(server: RunningServer, environment: dict[str, str]) -> None:
    with pytest.raises(JudgeError, match="JUDGE_KEY is not set"):
        make_judge(server, api_key_env="JUDGE_KEY", environment=environment)


def test_a_key_that_cannot_be_sent_is_refused_and_not_told(server: RunningServer) -> None:
    with pytest.raises(JudgeError, match="JUDGE_KEY") as caught:
        make_judge(server, api_key_env="JUDGE_KEY", environment={"JUDGE_KEY": f"{KEY}\nX: y"})
    assert KEY not in str(caught.value)


def test_the_address_may_come_from_the_environment(server: RunningServer) -> None:
    environment = {"OPENAI_BASE_URL": f"{server.url}/"}
    judge: Judge = make_judge(server, base_url=None, environment=environment)
    assert [answer.text for answer in chain.from_iterable(judge.ask(make_calls(1)))] == ["A"]


def test_a_server_that_is_not_there_is_named_at_once(server: RunningServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        judge = make_judge(server, base_url=url, limits={"max_attempts": 1})
        with pytest.raises(
            JudgeError, match=r"cannot be reached.*Connection refused.*\n.*check that the server runs"
        ):
            list(chain.from_iterable(judge.ask(make_calls(10))))


@pytest.mark.parametrize("status", ["404", "307"])
def test_a_wrong_address_stops_the_judge(server: RunningServer, status: str) -> None:
    with pytest.raises(JudgeError, match=f"HTTP {status}.*\n.*base_url"):
        list(
            chain.from_iterable(
                make_judge(server, name_model("elsewhere", **{status: 1.0})).ask(make_calls(3))
            )
        )


def test_a_budget_of_calls_stops_before_it_is_exceeded_and_the_next_run_goes_on(
    server: RunningServer,
) -> None:
    calls = make_calls(100)
    answered: dict[str, Reply] = {}
    model = name_model("budget", **{"500": 0.05})
    limits = {"concurrency": 16, "budget": {"calls": 40}}
    for _ in range(2):
        with pytest.raises(BudgetError, match=r"40 calls, 2040 tokens, 0\.0021 EUR so far"):
            for answer in chain.from_iterable(
                make_judge(server, model, limits=limits).ask(
                    call for call in calls if call.call_id not in answered
                )
            ):
                answered[answer.call_id] = answer
    assert len(answered) == server.count_served(model)["ok"] == 80
    for answer in chain.from_iterable(
        make_judge(server, model, limits=limits).ask(call for call in calls if call.call_id not in answered)
    ):
        answered[answer.call_id] = answer
    assert server.count_served(model)["ok"] == 100
    assert all(answered[call.call_id].text == find_truth(call) for call in calls)


@pytest.mark.parametrize(
    ("budget", "most_spent"),
    [({"tokens": 3000}, 3000), ({"cost": 0.0104}, 200 * (INPUT_TOKENS + OUTPUT_TOKENS))],
)
def test_tokens_and_money_stop_before_they_are_exceeded(
    server: RunningServer, budget: dict[str, float], most_spent: int
) -> None:
    """A call takes 50 + 1 tokens, and costs 50 x 1 + 1 x 2 = 52 millionths; 0.0104 is 200 of them."""
    model = name_model(str(budget))
    judge = make_judge(server, model, limits={"concurrency": 32, "budget": budget})
    with pytest.raises(BudgetError, match="EUR so far, and the next call may take up to 1 call"):
        list(chain.from_iterable(judge.ask(make_calls(1000))))
    spent = server.count_served(model)["ok"] * (INPUT_TOKENS + OUTPUT_TOKENS)
    most_of_a_call = 500
    assert most_spent - most_of_a_call < spent <= most_spent


@pytest.mark.slow
def test_attempts_of_unknown_fate_count_as_spent(server: RunningServer) -> None:
    model = name_model("hang", hang=1.0)
    limits = {"timeout_seconds": 0.2, "max_attempts": 9, "budget": {"calls": 2}}
    with pytest.raises(BudgetError, match="2 calls"):
        list(chain.from_iterable(make_judge(server, model, limits=limits).ask(make_calls(1))))
    assert server.count_served(model) == {"hang": 2}


def test_calls_are_taken_only_as_they_are_needed(server: RunningServer) -> None:
    taken: list[str] = []

    def take() -> Iterator[Call]:
        for call in make_calls(300):
            taken.append(call.call_id)
            yield call

    asked = chain.from_iterable(make_judge(server, limits={"concurrency": 4}).ask(take()))
    assert max(len(taken) - place for place, _ in enumerate(asked)) <= 2 * 4


def test_no_more_calls_are_under_way_than_the_concurrency(server: RunningServer) -> None:
    """Ten at a time, each of 25 ms at least: 40 calls take 0.1 s at least; one at a time takes 2 s."""
    judge = make_judge(server, name_model("slow", latency=0.05), limits={"concurrency": 10})
    started = time.monotonic()
    assert len(list(chain.from_iterable(judge.ask(make_calls(40))))) == 40
    assert 0.1 < time.monotonic() - started < 1.9


def test_a_request_rate_is_kept(server: RunningServer) -> None:
    """600 a minute are ten a second: the 11th starts after a second."""
    started = time.monotonic()
    assert (
        len(
            list(
                chain.from_iterable(
                    make_judge(server, limits={"requests_per_minute": 600}).ask(make_calls(11))
                )
            )
        )
        == 11
    )
    assert time.monotonic() - started >= 1.0


def test_a_token_rate_is_kept_and_learns_what_calls_take(server: RunningServer) -> None:
    """61,200 tokens a minute are 20 calls of 51 tokens a second; at first, calls are taken for 6 times as large."""
    limits = {"tokens_per_minute": 61_200, "concurrency": 4}
    started = time.monotonic()
    list(chain.from_iterable(make_judge(server, limits=limits).ask(make_calls(30))))
    assert 1.4 <= time.monotonic() - started < 6


def test_a_stop_does_not_wait_for_calls_that_were_not_sent_yet(server: RunningServer) -> None:
    model = name_model("stopped", **{"401": 1.0})
    started = time.monotonic()
    with pytest.raises(JudgeError, match="HTTP 401"):
        list(
            chain.from_iterable(
                make_judge(server, model, limits={"requests_per_minute": 1}).ask(make_calls(9))
            )
        )
    assert time.monotonic() - started < 20


def test_an_answer_is_handed_on_while_others_hang(server: RunningServer) -> None:
    started = time.monotonic()
    asked = make_judge(server, name_model("some hang", hang=0.2)).ask(make_calls(64))
    first = list(islice(chain.from_iterable(asked), 20))
    assert time.monotonic() - started < 30  # the time limit of an attempt is 60 s
    asked.close()  # what is under way is let go
    assert {answer.status for answer in first} == {"ok"}


def test_no_calls_ask_nothing(server: RunningServer) -> None:
    assert list(chain.from_iterable(make_judge(server).ask([]))) == []


def test_a_fault_of_the_calls_themselves_comes_through(server: RunningServer) -> None:
    def break_off() -> Iterator[Call]:
        yield from make_calls(3)
        raise OSError("the journal is gone")

    with pytest.raises(OSError, match="the journal is gone"):
        list(chain.from_iterable(make_judge(server).ask(break_off())))


def test_a_judge_can_be_asked_again(server: RunningServer) -> None:
    judge = make_judge(server)
    assert [len(list(chain.from_iterable(judge.ask(make_calls(number))))) for number in (3, 0, 5)] == [
        3,
        0,
        5,
    ]


def test_after_the_budget_the_journal_holds_every_answer_and_the_next_run_asks_the_rest(
    server: RunningServer, tmp_path: Path
) -> None:
    model = name_model("journal")
    settings = make_settings(server, model, limits={"concurrency": 8, "budget": {"calls": 30}})
    profile = JudgeProfile.from_settings(settings, COMPACT, model=None)
    constitution = Constitution(principles=(Principle(id="long", text="The longer.", weight=1.0),))
    texts = {f"r{place}": "so " * (place + 1) for place in range(32)}
    pairs = [Pair.from_responses("p", f"r{place}", f"r{place + 1}") for place in range(0, 32, 2)]

    def plan(profiles: Sequence[JudgeProfile]) -> Iterator[Question]:
        return plan_questions(pairs, constitution, profiles, prompts={"p": "Ask"}, texts=texts)

    notes: list[str] = []

    def note_down(what: str, done: int, total: int, note: str = "") -> None:
        notes.append(f"{what} {done} of {total}: {note}")

    def label(judge: ServedJudge) -> AskedResult:
        with open_journal(tmp_path / "journal", "test") as journal:
            return ask_questions(
                plan,
                profile,
                lambda: judge,
                journal,
                price=settings.price,
                progress=note_down,
            )

    with pytest.raises(BudgetError):
        label(ServedJudge(settings, COMPACT, environment={}))
    assert server.count_served(model) == {"ok": 30}
    result = label(ServedJudge(settings, COMPACT, environment={}))
    assert (result.num_asked, result.num_reused, result.input_tokens, result.output_tokens) == (2, 30, 100, 2)
    assert result.cost == pytest.approx(100 * 1e-6 + 2 * 2e-6)
    assert server.count_served(model) == {"ok": 32}
    done = int(notes[0].removeprefix(f"verdicts of {model} ").split()[0])
    assert notes[0] == f"verdicts of {model} {done} of 32: {51 * done} tokens, 0.00 EUR"
    assert notes[-1] == f"verdicts of {model} 2 of 2: 102 tokens, 0.00 EUR"


@pytest.mark.slow
def test_a_served_judge_loads_no_heavy_library() -> None:
    code = "import sys, rlaif_dagster.graph.judging, rlaif_dagster.judging.served as _; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "pandas", "dagster"} & set(done.stdout.split())


@pytest.mark.slow
def test_a_server_of_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    assert _find_proxy("http://127.0.0.1:8000/v1") is None
    assert _find_proxy("http://judge.invalid/v1") == "http://proxy.invalid:3128"
