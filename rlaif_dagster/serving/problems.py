"""Reads a server's error message: words, codes and types, from any of the places where servers put them.

The places are `error`, `errors`, `detail`, `message`, `error_msg` and `base_resp`, inside a list, or inside the first
choice. The message is a text, or has a code that is a number, a number in quotes, or a word.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

LONGEST_WORDS: Final = 2000
"""How many characters of a body that is not JSON are searched for words."""

_INNER: Final = ("error", "errors", "detail", "details", "base_resp", "message", "error_msg", "error_message")
_INNER_MESSAGES: Final = (
    "message",
    "msg",
    "status_msg",
    "error_msg",
    "error_message",
    "detail",
    "error",
    "Message",
)
_CODES: Final = ("code", "status_code", "error_code", "statusCode", "http_code")
_KINDS: Final = ("type", "status", "error_type", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A server's error message.

    Attributes:
        words: The server's own words; may be empty.
        status: The HTTP status inside the body.
        labels: The codes and types, in lower case.
        parameter: The field of the request that the message names.
    """

    words: str
    status: int | None = None
    labels: tuple[str, ...] = ()
    parameter: str | None = None


NO_PROBLEM: Final = Problem(words="")
"""The problem of a body without an error message."""


def find_problem(value: object) -> Problem | None:
    """Finds the error message in a body; None if it has none."""
    if isinstance(value, list):  # Gemini
        value = next((one for one in value if isinstance(one, dict)), None)
    if not isinstance(value, dict):
        return None
    first = find_first_choice(value)
    if first is not None:
        inner = first.get("error") or value.get("error")
        return _describe({"error": inner}) if inner else None
    for name in _INNER:
        if value.get(name) and not (name == "message" and isinstance(value[name], dict)):
            if name == "base_resp" and isinstance(value[name], dict) and not value[name].get("status_code"):
                continue
            return _describe(value)
    return None


def _describe(value: Mapping[str, Any]) -> Problem:
    """Reads a problem from its object; words, codes and types may be at any of three depths."""
    layers = list(_peel(value))
    objects = [layer for layer in reversed(layers) if isinstance(layer, dict)]
    texts = [layer for layer in layers if isinstance(layer, str)]
    words = next(filter(None, [*map(_find_words, objects), *texts]), "")
    codes = [layer[name] for layer in objects for name in _CODES if name in layer]
    kinds = [layer[name] for layer in objects for name in _KINDS if name in layer]
    statuses = [status for code in (*codes, *kinds) if (status := _read_status(code)) is not None]
    named = [layer["param"] for layer in objects if isinstance(layer.get("param"), str)]
    return Problem(
        words=shorten_words(words),
        status=statuses[0] if statuses else None,
        labels=tuple(label.lower() for label in (*codes, *kinds) if isinstance(label, str)),
        parameter=next(filter(None, named), None),
    )


def _peel(value: object) -> Iterator[object]:
    """Yields the object, and the objects inside it at the places of errors."""
    for _ in range(4):
        yield value
        if isinstance(value, list):
            value = value[0] if value else None
            continue
        if not isinstance(value, dict):
            return
        inner = next(
            (value[name] for name in _INNER if isinstance(value.get(name), dict | list) and value[name]), None
        )
        value = (
            inner if inner is not None else next((value[name] for name in _INNER if value.get(name)), None)
        )


def _find_words(layer: Mapping[str, Any]) -> str:
    said = next((layer[n] for n in _INNER_MESSAGES if isinstance(layer.get(n), str) and layer[n]), "")
    where = layer.get("loc")  # FastAPI: where in the request
    place = ".".join(str(step) for step in where) if isinstance(where, list) else ""
    more = layer.get("metadata")  # OpenRouter: what the provider behind it says
    raw = more.get("raw") if isinstance(more, dict) else None
    return " ".join(
        filter(None, (f"{place}:" if place and said else "", said, raw if isinstance(raw, str) else ""))
    )


def _read_status(code: object) -> int | None:
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:  # noqa: PLR2004
        code = int(code)
    is_status = isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600  # noqa: PLR2004
    return int(code) if is_status else None  # type: ignore[call-overload]


def find_first_choice(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first choice of a completion, if there is one."""
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = list(choices.values())
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def shorten_words(words: str) -> str:
    """Puts words on one line, without control characters, and cuts long ones."""
    printable = "".join(
        letter if letter.isprintable() else " " for letter in clean_text(words[: 4 * LONGEST_WORDS])
    )
    return " ".join(printable.split())[:LONGEST_WORDS]


def clean_text(text: str) -> str:
    """Makes a text valid for every file: half a surrogate pair, which JSON can write, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
