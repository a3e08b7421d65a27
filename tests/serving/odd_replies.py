"""Replies as servers really give them: each wraps what a judge or a policy says in one server's manner.

Made for these tests after public reports about OpenAI, Azure, OpenRouter, vLLM, SGLang, llama.cpp, Ollama, LiteLLM,
TGI, LM Studio, Together, Groq, DeepSeek, MiniMax, SiliconFlow, Fireworks, and the compatible servers of Anthropic and
Google. `expected` says what comes of a reply, by reading; `"*"` stands for the readings that are not named:

- `good`: what was said is read; `unparsed`: a reply without a verdict; `cut`: it reached the length limit;
- `failed`, `refused`: why nothing was said is kept.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

SAID: Final = {
    "logprob": "A",
    "text": "A",
    "reasoned": "The first is shorter.\nVerdict: A",
    "rating": "7",
    "sampling": "Boil some water in it.",
}
"""What is said, by reading."""
TOP: Final = {"A": 0.9, "B": 0.05, "The": 0.01}
READ, WRITTEN = 7, 2
USAGE: Final[dict[str, Any]] = {"prompt_tokens": READ, "completion_tokens": WRITTEN}
NOTHING: Final = (None, None)
NO_VERDICT: Final = {"logprob": "good", "sampling": "good", "*": "unparsed"}
ALL_GOOD: Final = {"*": "good"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OddReply:
    """A reply, and what comes of it.

    Attributes:
        name: Names it.
        make: Writes the body around what is said.
        expected: What comes of it, by reading.
        tokens: Tokens read and written that are charged, where a call is answered in one attempt.
        attempts: Requests until the outcome is known: 1, or as many as are allowed.
        status: The HTTP status.
        headers: More HTTP headers.
        words: Of the server's own, which the reason holds.
    """

    name: str
    make: Callable[[str], bytes]
    expected: Mapping[str, str] = field(default_factory=lambda: ALL_GOOD)
    tokens: tuple[int | None, int | None] = (READ, WRITTEN)
    retried: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    words: str = ""

    def expect(self, reading: str) -> str:
        return self.expected.get(reading) or self.expected["*"]


def list_top(**top: float) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in (top or TOP).items()]


LOGPROBS: Final = {"content": [{"token": "A", "logprob": math.log(0.9), "top_logprobs": list_top()}]}


def complete(
    content: object,
    *,
    finish: object = "stop",
    usage: object = USAGE,
    logprobs: object = LOGPROBS,
    more: Mapping[str, Any] | None = None,
    **message: Any,
) -> dict[str, Any]:
    """A completion; fields that are ... are left out."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    choice |= {
        name: value for name, value in (("finish_reason", finish), ("logprobs", logprobs)) if value is not ...
    }
    body = {"id": "c", "object": "chat.completion", "choices": [choice], **(more or {})}
    return body if usage is ... else {**body, "usage": usage}


def surround(before: str, after: str, said: str) -> dict[str, Any]:
    """A completion with something around what is said."""
    return complete(before + said + after)


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def wrap(name: str, make: Callable[[str], object], **fields: Any) -> OddReply:
    """A reply in JSON."""
    return OddReply(name=name, make=lambda said: dump(make(said)), **fields)


def fail(name: str, body: object, words: str = "", **fields: Any) -> OddReply:
    """A reply that says the same whatever is asked: an error."""
    raw = body if isinstance(body, bytes) else dump(body)
    usual = {"expected": {"*": "failed"}, "tokens": NOTHING, "retried": True, "words": words}
    return OddReply(name=name, make=lambda _: raw, **{**usual, **fields})


def stream(said: str, *, comments: bool = False) -> bytes:
    """A completion as an event stream."""
    half = len(said) // 2
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": said[:half]}, "logprobs": LOGPROBS}]},
        {"choices": [{"delta": {"content": said[half:]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE},
    ]
    lines = [f"data: {json.dumps(chunk)}" for chunk in chunks] + ["data: [DONE]"]
    between = "\n\n: PROCESSING\n\n" if comments else "\n\n"
    return (": PROCESSING\n\n" * comments + between.join(lines) + "\n\n").encode()


def logprob_case(name: str, logprobs: object, expected: str = "good") -> OddReply:
    """A reply whose log-probabilities have another shape."""
    return wrap(
        name, lambda said: complete(said, logprobs=logprobs), expected={"logprob": expected, "*": "good"}
    )


MISSING_LOGPROBS: Final = {"logprob": "failed", "*": "good"}

GOOD: Final = (
    wrap("plain", complete),
    wrap("parts", lambda said: complete([{"type": "text", "text": said}])),
    wrap(
        "parts with thinking",
        lambda said: complete(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "B"}]},
                {"type": "text", "text": said},
            ]
        ),
    ),
    wrap(
        "parts with reasoning text",
        lambda said: complete([{"type": "reasoning", "text": "B"}, {"type": "output_text", "text": said}]),
    ),
    wrap("parts that are strings", lambda said: complete([said[:1], said[1:]])),
    wrap("a part alone", lambda said: complete({"type": "text", "text": said})),
    wrap("a part with its value inside", lambda said: complete([{"type": "text", "text": {"value": said}}])),
    wrap("unknown parts", lambda said: complete([{"type": "x", "y": 1}, 7, {"type": "text", "text": said}])),
    OddReply(name="byte order mark", make=lambda said: b"\xef\xbb\xbf" + dump(complete(said))),
    OddReply(name="blank lines first", make=lambda said: b"\n \n\n" + dump(complete(said)) + b"\n"),
    OddReply(name="event stream", make=stream),
    OddReply(name="event stream with comments", make=lambda said: stream(said, comments=True)),
    OddReply(
        name="JSON lines",
        make=lambda said: b"\n".join(
            [
                dump({"choices": [{"delta": {"content": said}, "logprobs": LOGPROBS}]}),
                dump({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}),
            ]
        ),
    ),
    OddReply(
        name="NaN in a field",
        make=lambda said: dump(complete(said, more={"score": math.nan, "other": -math.inf})),
    ),
    OddReply(
        name="bytes that are no text",
        make=lambda said: dump(complete(said, more={"id": "?"})).replace(b'"?"', b'"\xff"'),
    ),
    wrap("reasoning_content", lambda said: complete(said, reasoning_content="Verdict: B\nB")),
    wrap("reasoning", lambda said: complete(said, reasoning="B", reasoning_details=[{"text": "B"}])),
    wrap(
        "tool calls that are null",
        lambda said: complete(said, tool_calls=None, function_call=None, audio=None),
    ),
    wrap("no finish_reason", lambda said: complete(said, finish=...)),
    wrap("finish_reason null", lambda said: complete(said, finish=None)),
    wrap("finish_reason eos", lambda said: complete(said, finish="eos")),
    wrap("finish_reason stop_sequence", lambda said: complete(said, finish="stop_sequence")),
    wrap("finish_reason end_turn", lambda said: complete(said, finish="end_turn")),
    wrap("finish_reason STOP", lambda said: complete(said, finish="STOP")),
    wrap("finish_reason as an object", lambda said: complete(said, finish={"type": "stop"})),
    wrap("finish_reason unknown", lambda said: complete(said, finish="zzz")),
    wrap("error null", lambda said: complete(said, more={"error": None, "detail": None})),
    wrap("two choices", lambda said: {**complete(said), "choices": 2 * complete(said)["choices"]}),
    wrap("a delta", lambda said: rename(complete(said), "message", "delta")),
    wrap(
        "a completion of the old kind",
        lambda said: {
            "choices": [{"text": said, "finish_reason": "stop", "logprobs": LOGPROBS}],
            "usage": USAGE,
        },
    ),
    wrap("no usage", lambda said: complete(said, usage=...), tokens=NOTHING),
    wrap("usage null", lambda said: complete(said, usage=None), tokens=NOTHING),
    wrap("usage empty", lambda said: complete(said, usage={}), tokens=NOTHING),
    wrap("usage no object", lambda said: complete(said, usage=[7, 2]), tokens=NOTHING),
    wrap(
        "usage of no sense",
        lambda said: complete(said, usage={"prompt_tokens": -7, "completion_tokens": 1e300}),
        tokens=NOTHING,
    ),
    wrap(
        "usage in quotes", lambda said: complete(said, usage={"prompt_tokens": "7", "completion_tokens": "2"})
    ),
    wrap(
        "usage in fractions",
        lambda said: complete(said, usage={"prompt_tokens": 7.0, "completion_tokens": 2.0}),
    ),
    wrap("usage by other names", lambda said: complete(said, usage={"input_tokens": 7, "output_tokens": 2})),
    wrap("usage elsewhere", lambda said: complete(said, usage=..., more={"x_groq": {"usage": USAGE}})),
    wrap(
        "reasoning in the total alone",
        lambda said: complete(said, usage={**USAGE, "total_tokens": 19}),
        tokens=(7, 12),
    ),
    logprob_case(
        "log-probabilities of the old kind",
        {
            "tokens": ["A"],
            "token_logprobs": [-0.1],
            "top_logprobs": [{t: math.log(p) for t, p in TOP.items()}],
        },
    ),
    logprob_case(
        "top_logprobs as an object",
        {
            "content": [
                {"token": "A", "logprob": -0.1, "top_logprobs": {t: math.log(p) for t, p in TOP.items()}}
            ]
        },
    ),
    logprob_case(
        "tokens as bytes alone",
        {"content": [{"top_logprobs": [{"bytes": [65], "logprob": -0.1}, {"bytes": [66], "logprob": -3.0}]}]},
    ),
    logprob_case(
        "tokens as the vocabulary spells them",
        {
            "content": [
                {
                    "token": "\u0120A",
                    "top_logprobs": list_top(**{"\u0120A": 0.9, "\u2581B": 0.05, "x": 0.001}),
                }
            ]
        },
    ),
    logprob_case(
        "tokens that were masked",
        {"content": [{"top_logprobs": [*list_top(), {"token": "x", "logprob": -9999.0}]}]},
    ),
    logprob_case(
        "log-probabilities that are none",
        {
            "content": [
                {
                    "top_logprobs": [
                        {"token": "x", "logprob": None},
                        {"token": "y", "logprob": math.nan},
                        {"token": "z", "logprob": -math.inf},
                        {"token": "w", "logprob": "-1"},
                        "v",
                        *list_top(),
                    ]
                }
            ]
        },
    ),
    logprob_case(
        "two listed, without room for doubt", {"content": [{"top_logprobs": list_top(A=0.9, B=0.05)}]}
    ),
    logprob_case(
        "one listed, with room for doubt",
        {"content": [{"top_logprobs": list_top(A=0.9, C=0.05)}]},
        "unparsed",
    ),
    logprob_case(
        "the token alone", {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}, "unparsed"
    ),
    *(
        wrap(
            name,
            partial(complete, logprobs=logprobs),
            expected=MISSING_LOGPROBS,
            words="no log-probabilities",
        )
        for name, logprobs in (
            ("no log-probabilities", ...),
            ("log-probabilities null", None),
            ("log-probabilities empty", {"content": []}),
            ("log-probabilities without content", {"content": None, "refusal": None}),
            ("log-probabilities no object", "none"),
        )
    ),
)
"""Replies that hold what was asked for."""

THOUGHTS: Final = (
    *(
        wrap(name, partial(surround, before, after))
        for name, before, after in (
            ("think", "<think>\nVerdict: B\n</think>\n\n", ""),
            ("think without an opening mark", "Rather the second.\nVerdict: B\n</think>\n\n", ""),
            ("think twice", "<think>B</think>\nVerdict: B\n<think>No.</think>\n", ""),
            ("THINK", "[THINK]Verdict: B[/THINK]", ""),
            ("reasoning tags", "<reasoning>\nVerdict: B\n</reasoning>\n", ""),
            ("thinking tags", "<thinking>\nVerdict: B\n</thinking>\n", ""),
            (
                "channels",
                "<|channel|>analysis<|message|>Verdict: B<|end|><|start|>assistant<|channel|>final<|message|>",
                "<|return|>",
            ),
            ("channels without marks", "analysisVerdict: Bassistantfinal", ""),
            (
                "marks of thought",
                "<|begin_of_thought|>B<|end_of_thought|><|begin_of_solution|>\n",
                "\n<|end_of_solution|>",
            ),
            ("START_THINKING", "<|START_THINKING|>B<|END_THINKING|><|START_RESPONSE|>", "<|END_RESPONSE|>"),
        )
    ),
    *(
        wrap(name, partial(surround, before, ""), expected=NO_VERDICT)
        for name, before in (
            ("think without an end", "<think>\n"),
            ("THINK without an end", "[THINK]"),
            ("a channel of analysis alone", "<|channel|>analysis<|message|>"),
            ("thinking again at the end", "<think>x</think>\n<think>\n"),
        )
    ),
)
"""Reasoning among the text; a policy's is part of its text."""

NO_ANSWERS: Final = (
    *(
        wrap(name, make, expected={"logprob": "good", "sampling": "failed", "*": "unparsed"})
        for name, make in (
            ("content null", lambda _: complete(None)),
            ("reasoning alone", lambda said: complete(None, reasoning_content=said)),
            (
                "a tool call",
                lambda _: complete(None, finish="tool_calls", tool_calls=[{"function": {"name": "f"}}]),
            ),
            ("no content", lambda _: {"choices": [{"message": {}, "logprobs": LOGPROBS}], "usage": USAGE}),
            ("parts of thinking alone", lambda said: complete([{"type": "thinking", "thinking": said}])),
            ("no parts", lambda _: complete([])),
        )
    ),
    wrap("nothing, and an end", lambda _: complete(""), expected=NO_VERDICT),
    wrap(
        "half a surrogate pair",
        lambda said: complete(said + "\ud800"),
        expected={"logprob": "good", "sampling": "good", "*": "unparsed"},
    ),
    *(
        wrap(
            f"finish_reason {finish}",
            partial(complete, finish=finish),
            expected={"reasoned": "failed", "sampling": "cut", "*": "good"},
        )
        for finish in ("length", "MAX_TOKENS", "model_length")
    ),
    wrap(
        "as long as allowed, and no finish_reason",
        lambda said: complete(said, finish=None, usage={"prompt_tokens": 7, "completion_tokens": 5000}),
        expected={"reasoned": "failed", "sampling": "cut", "*": "good"},
        tokens=(7, 5000),
    ),
    *(
        wrap(name, make, expected={"*": "refused"}, words=words)
        for name, make, words in (
            ("a refusal", lambda _: complete(None, refusal="I can't help with that."), "I can't help"),
            (
                "a part of refusal",
                lambda _: complete([{"type": "refusal", "refusal": "I won't."}]),
                "I won't.",
            ),
            (
                "finish_reason content_filter",
                lambda said: complete(said, finish="content_filter"),
                "content filter",
            ),
            ("finish_reason SAFETY", lambda _: complete(None, finish="SAFETY"), "content filter"),
            ("finish_reason recitation", lambda _: complete("", finish="recitation"), "content filter"),
            ("finish_reason refusal", lambda _: complete("", finish="refusal"), "content filter"),
        )
    ),
)
"""Replies that hold something else."""

OVERLOADED = "Upstream provider is overloaded"
BROKEN_OFF = "provider disconnected"
FAULTS: Final = (
    fail("error with a number", {"id": "g", "error": {"message": OVERLOADED, "code": 502}}, OVERLOADED),
    fail("error with a number in quotes", {"error": {"message": OVERLOADED, "code": "502"}}, OVERLOADED),
    fail("error with a word", {"error": {"message": OVERLOADED, "type": "overloaded_error"}}, OVERLOADED),
    fail("error of a kind", {"type": "error", "error": {"type": "api_error", "message": "oh"}}, "oh"),
    fail("error as a text", {"error": "something went wrong"}, "something went wrong"),
    fail("error beside empty choices", {"choices": [], "error": {"message": "oh no"}}, "oh no"),
    fail(
        "error in a choice",
        complete("The f", finish="error", more={})
        | {
            "choices": [
                {
                    "error": {"code": 502, "message": BROKEN_OFF},
                    "message": {"content": "The f"},
                    "finish_reason": "error",
                }
            ]
        },
        BROKEN_OFF,
        tokens=(READ, WRITTEN),
    ),
    fail("finish_reason error", complete("The f", finish="error"), "broke off", tokens=(READ, WRITTEN)),
    fail(
        "out of resources",
        complete("", finish="insufficient_system_resource"),
        "broke off",
        tokens=(READ, WRITTEN),
    ),
    fail("error with usage", {"error": {"message": "oh"}, "usage": USAGE}, "oh", tokens=(READ, WRITTEN)),
    fail(
        "error in a list",
        [{"error": {"code": 503, "message": "try later", "status": "UNAVAILABLE"}}],
        "try later",
    ),
    fail(
        "code and message",
        {"code": 50505, "message": "Model service overloaded.", "data": None},
        "service overloaded",
    ),
    fail(
        "base_resp",
        {"choices": None, "base_resp": {"status_code": 1000, "status_msg": "unknown error"}},
        "unknown error",
    ),
    fail(
        "errors",
        {"success": False, "errors": [{"code": 7, "message": "no capacity"}], "result": None},
        "no capacity",
    ),
    fail("detail", {"detail": "worker died"}, "worker died"),
    fail("error_msg", {"error_code": 336100, "error_msg": "try again"}, "try again"),
    fail(
        "error of a provider behind",
        {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "upstream reset"}}},
        "upstream reset",
    ),
    fail(
        "error in an event stream",
        b'data: {"choices": [{"delta": {"content": "The"}}]}\n\ndata: {"error": {"message": "oh"}}\n',
        "oh",
    ),
    fail(
        "a web page",
        b"<!DOCTYPE html><html><head><title>x</title></head><body><h1>502 Bad Gateway</h1></body></html>",
        "502 Bad Gateway",
    ),
    fail("a text", b"upstream connect error", "upstream connect error"),
    fail("nothing", b"", "empty"),
    fail("null", b"null", "no chat completion"),
    fail("an object of something else", {"object": "list", "data": []}, "no chat completion"),
    fail(
        "no choices",
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}},
        "no chat completion",
        tokens=(7, 0),
    ),
    fail("a choice of nothing", {"choices": [None]}, "no chat completion"),
    fail("half a JSON", dump(complete("A"))[:60], "breaks off"),
    *(
        fail(name, b'{"choices": [{"message": {"content": "' + said.encode(), "breaks off")
        for name, said in (
            ("half a JSON about flags", "The second answer was flagged by"),
            ("half a JSON about money", "Payment required is the better"),
            ("half a JSON about load", "The first says that the server is busy"),
        )
    ),
    fail("deep", b"[" * 100_000 + b"]" * 100_000, ""),
    fail(
        "HTTP 500 with a page",
        b"<html><body>Internal Server Error</body></html>",
        "Internal Server Error",
        status=500,
    ),
    fail("HTTP 502 with nothing", b"", "HTTP 502", status=502),
    fail("HTTP 503", {"error": {"code": 503, "message": "Loading model"}}, "Loading model", status=503),
    fail(
        "HTTP 529",
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        "Overloaded",
        status=529,
    ),
    fail(
        "HTTP 429",
        {"error": {"message": "Rate limit reached, try again in 1s"}},
        "Rate limit",
        status=429,
        headers={"Retry-After": "0.1"},
    ),
    fail(
        "HTTP 500 with usage",
        {"error": {"message": "late"}, "usage": USAGE},
        "late",
        status=500,
        tokens=(READ, WRITTEN),
    ),
    *(
        fail(name, body, words, status=status, retried=False)
        for name, status, body, words in (
            (
                "HTTP 400 too long",
                400,
                {
                    "error": {
                        "message": "maximum context length is 8 tokens",
                        "code": "context_length_exceeded",
                        "param": "messages",
                    }
                },
                "maximum context",
            ),
            (
                "HTTP 400 too long, by max_tokens",
                400,
                {
                    "message": "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens",
                    "param": "max_tokens",
                },
                "too large",
            ),
            (
                "HTTP 400 of a parameter",
                400,
                {"error": {"message": "Unsupported value: 'temperature'", "param": "temperature"}},
                "'temperature'",
            ),
            ("HTTP 413", 413, b"Payload Too Large", "Payload Too Large"),
            (
                "HTTP 422",
                422,
                {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
                "body.seed: Extra inputs",
            ),
            (
                "HTTP 422 of tokens",
                422,
                {
                    "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4",
                    "error_type": "validation",
                },
                "Input validation",
            ),
            (
                "error of too many tokens",
                200,
                {
                    "error": {
                        "code": 400,
                        "message": "the request exceeds the available context size",
                        "type": "exceed_context_size_error",
                    }
                },
                "context size",
            ),
        )
    ),
    *(
        fail(name, body, words, status=status, retried=False, expected={"*": "refused"})
        for name, status, body, words in (
            (
                "HTTP 400 of a filter",
                400,
                {"error": {"code": "content_filter", "message": "The prompt triggered content management"}},
                "triggered",
            ),
            (
                "HTTP 403 of moderation",
                403,
                {"error": {"code": 403, "message": "your input was flagged", "metadata": {"reasons": ["x"]}}},
                "flagged",
            ),
            (
                "HTTP 400 of inspection",
                400,
                {"code": "data_inspection_failed", "message": "may contain inappropriate content"},
                "inappropriate",
            ),
            (
                "HTTP 400 of risk",
                400,
                {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}},
                "Content Exists Risk",
            ),
            (
                "error of a filter",
                200,
                {"error": {"code": "content_filter", "message": "filtered"}},
                "filtered",
            ),
        )
    ),
)
"""Errors, with HTTP 200 or another status, and replies that say nothing; each may pass, or is about this call alone."""

HOPELESS: Final = tuple(
    fail(name, body, words, status=status)
    for name, status, body, words in (
        (
            "error of money",
            200,
            {"error": {"message": "Insufficient credits. Add more", "code": 402}},
            "Insufficient credits",
        ),
        ("error of quota", 200, {"error": {"message": "no more", "code": "insufficient_quota"}}, "no more"),
        ("error of money, as a text", 200, {"error": "Insufficient Balance"}, "Insufficient Balance"),
        ("error of a key", 200, {"error": {"message": "bad key", "type": "authentication_error"}}, "bad key"),
        (
            "error of a model",
            200,
            {"error": {"message": "no model m", "code": "model_not_found"}},
            "no model m",
        ),
        ("HTTP 401", 401, {"error": {"message": "bad key"}}, "bad key"),
        ("HTTP 402", 402, {"error": {"message": "pay"}}, "pay"),
        ("HTTP 403", 403, {"error": {"message": "not in your country"}}, "your country"),
        ("HTTP 404", 404, {"error": "model 'm' not found, try pulling it first"}, "try pulling"),
        (
            "HTTP 429 of quota",
            429,
            {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
            "current quota",
        ),
        (
            "HTTP 400 of credit",
            400,
            {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
            "too low",
        ),
    )
)
"""Replies that say that no call can be answered."""

OF_THE_REQUEST: Final = tuple(
    fail(name, body, words, status=status)
    for name, status, body, words in (
        (
            "temperature",
            400,
            {
                "error": {
                    "message": "Unsupported value: 'temperature' does not support 0 with this model.",
                    "param": "temperature",
                    "code": "unsupported_value",
                }
            },
            "'temperature' does not",
        ),
        (
            "max_tokens",
            400,
            {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."}},
            "max_completion_tokens",
        ),
        (
            "seed",
            422,
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "seed"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            "body.seed",
        ),
        (
            "unrecognized",
            400,
            {"error": {"message": "Unrecognized request argument supplied: seed"}},
            "Unrecognized",
        ),
        (
            "limit of max_tokens",
            400,
            {"message": "max_tokens is too large: 9. This model supports at most 8 completion tokens"},
            "at most 8",
        ),
        ("model", 400, {"error": {"message": "The model `m` does not exist"}}, "does not exist"),
        (
            "in HTTP 200",
            200,
            {"error": {"code": 400, "message": "temperature is not supported", "param": "temperature"}},
            "not supported",
        ),
    )
)
"""Replies that say what is wrong with every request."""

SPOILT: Final = (
    OddReply(name="half a completion", make=lambda said: dump(complete(said)).split(b'"}')[0]),
    OddReply(
        name="half an event", make=lambda said: b'data: {"choices": [{"delta": {"content": ' + dump(said)
    ),
    OddReply(name="a text", make=str.encode),
    wrap("a text in JSON", str),
    OddReply(name="a web page", make=lambda said: f"<html><body><p>{said}</p></body></html>".encode()),
    wrap("an object of something else", lambda said: {"output": [{"content": said}]}),
    wrap("a list of something else", lambda said: [said, {"output": said}]),
    wrap(
        "an error without words beside the text",
        lambda said: {"choices": [{"message": {"content": said}, "error": {"code": 502}}]},
    ),
    wrap(
        "an error without a meaning beside the text",
        lambda said: {"choices": [{"message": {"content": said}, "error": True}]},
    ),
)
"""Replies with HTTP 200 that hold a model's words, and are no completion."""
TELLING: Final = (
    "The second answer was flagged by moderation",
    "It breaks the content policy",
    "Payment required is the better title",
    "It says: insufficient quota",
    "It says that the server is busy",
    "It is about the rate limit, and the first says: too many requests",
    "The first says: the prompt is too long",
    "The first explains what context length is",
    "The second says: 'temperature' is not supported",
    "The first says: the model does not exist",
)
"""Sentences of a model that, in a server's error message, would decide what follows from it."""


def rename(body: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """A completion whose choice has a field under another name."""
    (choice,) = body["choices"]
    return {**body, "choices": [{(new if name == old else name): value for name, value in choice.items()}]}


MIXED: Final = (*GOOD, *THOUGHTS, *NO_ANSWERS, *FAULTS)
"""Replies that stop nothing."""
