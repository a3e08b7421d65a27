"""Reads a server's reply in any form: a completion, or the server's own error message.

OpenAI-compatible servers agree in the main case and differ in nearly everything else. So this module requires only what
is needed: a field that is missing, or has another type, counts as not given, never as an error.

- **Body**: JSON, with or without a byte order mark; event streams (`data: {…}`) and JSON lines are joined, although
  no stream was requested. Anything else (HTML, plain text, half a JSON) is not a completion. Its words are kept apart
  from those of error messages, because they may be the model's.
- **Errors** with any HTTP status: see `rlaif_dagster.serving.problems`.
- **Text**: a string, or parts; parts with reasoning and unknown parts are left out.
- **Usage**: numbers in several places and spellings.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic_core import from_json

from rlaif_dagster.serving.calls import ServerFinishReason, TokenLogprob
from rlaif_dagster.serving.problems import (
    LONGEST_WORDS,
    NO_PROBLEM,
    Problem,
    clean_text,
    find_first_choice,
    find_problem,
    shorten_words,
)

MOST_TOKENS: Final = 10**12
"""A larger count is ignored."""
_FINISHES: Final[Mapping[ServerFinishReason, str]] = {
    "stop": "stop eos eos_token end end_turn stop_sequence stop_token stop_str complete completed done finished finish "
    "finish_reason_stop normal success",
    "length": "length max_tokens max_length max_new_tokens max_output_tokens max_completion_tokens model_length "
    "token_limit limit truncated model_context_window_exceeded context_length",
    "content_filter": "content_filter content_filtered content-filter safety recitation prohibited_content blocklist "
    "blocked spii refusal guardrail_intervened sensitive moderation language image_safety error_toxic "
    "data_inspection_failed",
    "tool_calls": "tool_calls tool_call tool_use function_call tool_code tools",
    "error": "error failed failure abort aborted cancel cancelled canceled network_error insufficient_system_resource "
    "malformed_function_call malformed_response timeout unload",
}
"""The servers' words for each finish reason; case is ignored."""
_FINISH: Final[Mapping[str, ServerFinishReason]] = {
    said: finish for finish, words in _FINISHES.items() for said in words.split()
}
_THOUGHTS: Final = ("think", "reason", "summary", "analysis")
_READ: Final = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_eval_count")
_WRITTEN: Final = ("completion_tokens", "output_tokens", "candidatesTokenCount", "eval_count")
_WHOLE: Final = ("total_tokens", "totalTokenCount")
_TAGS: Final = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[^<>]{1,400}>", re.DOTALL | re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_STREAM: Final = re.compile(r"\A\s*(?:(?::|event:|id:|retry:)[^\n]*\n\s*)*data:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens by the server's own count; None if it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        """Adds both, as far as they are counted."""
        return Usage(
            prompt_tokens=_add(self.prompt_tokens, other.prompt_tokens),
            completion_tokens=_add(self.completion_tokens, other.completion_tokens),
        )


NO_USAGE: Final = Usage()
"""The usage if the server does not say it."""


def _add(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """The text of a model.

    Attributes:
        text: The text, without separate reasoning; None if nothing was written.
        refusal: The model's own refusal.
        finish_reason: How it ended; None if that is not given or unknown.
        top: The most likely first tokens; empty if they are not given.
    """

    text: str | None
    refusal: str | None
    finish_reason: ServerFinishReason | None
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """A body that was read: a completion, a problem, or (if it is neither) a problem without words.

    Attributes:
        said: The content.
        body_words: The start of a body that has no text and no error message with words. It may quote the model.
        usage: The tokens used.
        form: The form of the body; all but `completion` and `error` are not a valid reply.
    """

    said: Continuation | Problem
    usage: Usage = NO_USAGE
    form: Literal["completion", "error", "empty", "web page", "text", "broken", "other"] = "completion"
    body_words: str = ""


def read_reply(body: bytes) -> ServerReply:
    """Reads a reply's body; it never fails, whatever the server sends."""
    try:
        value = from_json(body)  # fast, and enough for nearly all replies
    except ValueError:
        text = _decode(body)
        if not text:
            return ServerReply(said=NO_PROBLEM, form="empty")
        value = _read_json(text)
        if value is None:
            return _read_words(text)
    if isinstance(value, str):
        return ServerReply(said=NO_PROBLEM, form="text", body_words=shorten_words(value))
    usage = find_usage(value)
    error = find_problem(value)
    if error is not None:
        words = "" if error.words else shorten_words(_decode(body))
        return ServerReply(said=error, usage=usage, form="error", body_words=words)
    completion = _find_completion(value)
    if completion is None:
        words = shorten_words(_decode(body))
        return ServerReply(said=NO_PROBLEM, usage=usage, form="other", body_words=words)
    return ServerReply(said=completion, usage=usage)


def _decode(body: bytes) -> str:
    return body.decode("utf-8-sig", "replace").strip()


def _read_json(text: str) -> object:
    """Reads the JSON value, or joins the chunks of a stream; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        chunks = list(_read_chunks(text))
    return _join(chunks) if chunks else None


def _read_chunks(text: str) -> Iterator[Mapping[str, Any]]:
    """Yields the JSON objects of an event stream, or of JSON lines."""
    is_stream = _STREAM.match(text) is not None
    for line in text.splitlines():
        data = line.strip()
        if is_stream:
            if not data.startswith("data:"):
                continue
            data = data.removeprefix("data:").strip()
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            if not is_stream and data:
                return  # not JSON lines
            continue  # `[DONE]`, or an incomplete line
        if isinstance(chunk, dict):
            yield chunk


def _join(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Joins the chunks of a stream into one completion."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    for chunk in chunks:
        whole.update(
            {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        )
        first = find_first_choice(chunk)
        if first is None:
            continue
        whole["choices"] = [choice]
        delta = first.get("delta", first.get("message"))
        for name, value in (delta if isinstance(delta, dict) else {}).items():
            if isinstance(value, str) and isinstance(message.get(name, ""), str) and name != "role":
                message[name] = message.get(name, "") + value
            elif isinstance(value, list) and isinstance(message.get(name, []), list):
                message.setdefault(name, []).extend(value)
            elif value is not None:
                message[name] = value
        logprobs = first.get("logprobs")
        if logprobs and "logprobs" not in choice:
            choice["logprobs"] = logprobs
        choice.update({name: first[name] for name in ("finish_reason", "error", "text") if first.get(name)})
    return whole


def _find_completion(value: object) -> Continuation | None:
    """Reads the first choice; None if there is none."""
    first = find_first_choice(value) if isinstance(value, dict) else None
    if first is None:
        return None
    message = first.get("message", first.get("delta"))
    if not isinstance(message, dict):
        if not isinstance(first.get("text"), str):
            return None
        message = {"content": first["text"]}
    text, refusal = _read_content(message.get("content"))
    said = message.get("refusal")
    return Continuation(
        text=None if text is None else clean_text(text),
        refusal=clean_text(said) if isinstance(said, str) and said.strip() else refusal,
        finish_reason=_read_finish(first.get("finish_reason", first.get("stop_reason"))),
        top=tuple(_list_top(first.get("logprobs"))),
    )


def _read_content(content: object) -> tuple[str | None, str | None]:
    """Reads text and refusal."""
    if isinstance(content, str):
        return content, None
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content), None
    parts = [content] if isinstance(content, dict) else content if isinstance(content, list) else []
    texts, refusals = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            kind = str(part.get("type", "text")).lower()
            text = part.get("text")
            if isinstance(text, dict):
                text = text.get("value")
            if isinstance(part.get("refusal"), str):
                refusals.append(part["refusal"])
            elif (
                isinstance(text, str)
                and not any(mark in kind for mark in _THOUGHTS)
                and not part.get("thought")
            ):
                texts.append(text)
    return "".join(texts) if texts else None, clean_text(" ".join(refusals)) or None


def _read_finish(said: object) -> ServerFinishReason | None:
    if isinstance(said, dict):
        said = said.get("type")
    return _FINISH.get(said.strip().lower()) if isinstance(said, str) else None


def _list_top(logprobs: object) -> Iterator[TokenLogprob]:
    """Lists the most likely first tokens, in any of the forms in which servers return them."""
    if isinstance(logprobs, list):
        logprobs = {"content": logprobs}
    if not isinstance(logprobs, dict):
        return
    content = logprobs.get("content")
    if isinstance(content, list) and content and isinstance(content[0], dict):
        yield from _list_one(content[0], content[0].get("top_logprobs"))
        return
    tokens, chances, tops = (
        value if isinstance(value, list) else []
        for value in map(logprobs.get, ("tokens", "token_logprobs", "top_logprobs"))
    )
    first = {"token": tokens[0], "logprob": chances[0]} if tokens and chances else {}
    yield from _list_one(first, tops[0] if tops else None)


def _list_one(token: Mapping[str, Any], top: object) -> Iterator[TokenLogprob]:
    """Yields the tokens listed for one position, or else the one that was chosen."""
    if isinstance(top, dict):
        top = [{"token": name, "logprob": chance} for name, chance in top.items()]
    listed = [entry for entry in top if isinstance(entry, dict)] if isinstance(top, list) else []
    read = [known for known in map(_read_token, listed) if known is not None]
    yield from read or filter(None, [_read_token(token)])


def _read_token(entry: Mapping[str, Any]) -> TokenLogprob | None:
    chance = entry.get("logprob")
    if isinstance(chance, bool) or not isinstance(chance, int | float):
        return None
    if not math.isfinite(chance) or chance > 1.0:  # a little above 0 by rounding at worst
        return None
    raw, token = entry.get("bytes"), entry.get("token")
    if isinstance(raw, list) and raw and all(type(one) is int and 0 <= one < 256 for one in raw):  # noqa: PLR2004
        token = bytes(raw).decode("utf-8", "replace")
    if not isinstance(token, str):
        return None
    # Vocabularies write the space before a word in different ways, and some servers return that spelling.
    return TokenLogprob(
        token=clean_text(token.replace("\u2581", " ").replace("\u0120", " ")), logprob=float(chance)
    )


def find_usage(value: object) -> Usage:
    """Reads the token counts of a reply."""
    counts = next(_find_counts(value), None)
    if counts is None:
        return NO_USAGE
    read = _count(counts, _READ)
    written = _count(counts, _WRITTEN)
    whole = _count(counts, _WHOLE)
    if whole is not None and read is not None:  # some servers count reasoning only in the total
        written = max(written or 0, whole - read)
    elif whole is not None and written is not None:
        read = max(0, whole - written)
    return Usage(prompt_tokens=read, completion_tokens=written)


def _find_counts(value: object) -> Iterator[Mapping[str, Any]]:
    """Yields the objects in which servers put their counts."""
    if isinstance(value, list):
        value = next((one for one in value if isinstance(one, dict)), None)
    if isinstance(value, dict):
        for place in (value, value.get("x_groq"), find_first_choice(value), value.get("error")):
            for name in ("usage", "usageMetadata"):
                if isinstance(place, dict) and isinstance(place.get(name), dict):
                    yield place[name]


def _count(counts: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = counts.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return math.ceil(value)
    return None


def _read_words(text: str) -> ServerReply:
    """Reads the words of a body that is not JSON."""
    if text.startswith("<"):
        text = text[: 10 * LONGEST_WORDS]
        title = _TITLE.search(text)
        words = _TAGS.sub(" ", text)
        return ServerReply(
            said=NO_PROBLEM,
            form="web page",
            body_words=shorten_words(f"{title[1]} {words}" if title else words),
        )
    is_broken = text[0] in "{[" or _STREAM.match(text) is not None
    return ServerReply(
        said=NO_PROBLEM, form="broken" if is_broken else "text", body_words=shorten_words(text)
    )
