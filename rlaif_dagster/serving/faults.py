"""Faults: why an attempt gave no answer, and whether the same call, or any call, may still get one."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rlaif_dagster.serving.problems import Problem
from rlaif_dagster.serving.replies import NO_USAGE, Usage

FaultKind = Literal["silent", "late", "busy", "passing", "lasting", "fatal"]
"""`silent`: no connection; `late`: no reply in time; `busy`: too many requests; `passing`: another temporary fault;
`lasting`: this call cannot succeed; `fatal`: probably no call can."""

FEW_REFUSALS: Final = 3
"""How many calls refused for a parameter, with no call answered, show that every call will be refused."""
SEVERAL_REFUSALS: Final = 10
"""The same for faults whose cause may be the single call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an attempt gave no answer.

    Attributes:
        kind: The kind of fault, which decides what happens next.
        reason: The reason, for people; without keys.
        remedy: What to do if it persists.
        wait_seconds: How long the server asks to wait, if it does.
        usage: What the attempt used, by the server's own count.
        is_spent: Whether the attempt may have been billed, although the server gives no count.
        stops_after: How many such faults, before any answer, show that no call will be answered; None for no limit.
    """

    kind: FaultKind
    reason: str
    remedy: str = "read the server's message"
    wait_seconds: float | None = None
    usage: Usage = NO_USAGE
    is_spent: bool = False
    stops_after: int | None = None


_ALL_REFUSED: Final = (401, 402, 403, 404, 405, 407, 410, 501)
_BUSY: Final = (429, 498, 503, 529)
_PASSING: Final = (408, 409, 425, 499, *_BUSY)
_STATUSES: Final[Mapping[int, str]] = {
    400: "invalid_request_error invalid_argument badrequesterror bad_request failed_precondition invalid_prompt "
    "unsupported_parameter unsupported_value unknown_parameter context_length_exceeded exceed_context_size_error",
    401: "invalid_api_key authentication_error unauthenticated unauthorized invalid_authentication",
    402: "insufficient_quota insufficient_credits insufficient_balance billing_error billing_hard_limit_reached "
    "payment_required exceeded_current_quota_error",
    403: "permission_error permission_denied forbidden access_denied",
    404: "not_found_error not_found model_not_found notfounderror",
    413: "request_too_large",
    429: "rate_limit_exceeded rate_limit_error rate_limit_reached rate_limited resource_exhausted too_many_requests "
    "tokens requests engine_overloaded_error",
    500: "server_error internal_server_error internal_error internalservererror api_error internal",
    503: "unavailable service_unavailable overloaded_error overloaded unavailable_error model_overloaded",
    504: "timeout timeout_error deadline_exceeded gateway_timeout",
}
_STATUS_BY_LABEL: Final = {label: status for status, labels in _STATUSES.items() for label in labels.split()}
_NO_MONEY: Final = re.compile(
    r"insufficient[ _](?:quota|credit|balance|funds)|out of credits?|current[ _]quota|payment required|billing_"
    r"|credit balance is too low",
)
_COMES_BACK: Final = re.compile(r"(?:retry|try again) (?:in|after)|per (?:minute|second|hour)")
_REFUSED: Final = re.compile(
    r"content[ _-]?(?:filter|policy|management|exists risk)|responsible ?ai|data_?inspection|moderation|flagged"
    r"|safety[ _](?:system|polic|filter)|prohibited[ _]content|sensitive content|usage polic",
)
_TOO_LONG: Final = re.compile(
    r"context[ _](?:length|window|size|limit)|(?:prompt|input|request|messages?)\b.{0,30}\btoo (?:long|large)"
    r"|too many (?:input |prompt )?tokens|inputs?[`'\"]? tokens?\b|input length|reduce the length|longer than the model"
    r"|(?:prompt|input)\b.{0,60}\bexceeds?|string_above_max_length|request_too_large",
)
_OVERLOADED: Final = re.compile(
    r"rate.?limit|too many requests|overloaded|at capacity|server is busy|loading model"
)
_ALL_ALIKE: Final = re.compile(
    r"unsupported[ _](?:parameter|value|field)|unknown[ _](?:parameter|field|argument|name)|unrecognized"
    r"|unexpected (?:keyword|field|parameter)|extra (?:inputs|fields|forbidden)|not (?:supported|permitted|allowed)"
    r"|does(?: not|n't) support|model.{0,60}(?:not (?:found|exist)|does not exist)",
)


def find_status(status: int, problem: Problem) -> int | None:
    """Finds the HTTP status of a problem: the reply's own, or the one that its body means; None if there is none."""
    if status >= 300:  # noqa: PLR2004
        return status
    if problem.status is not None:
        return problem.status
    said = problem.words.lower()
    if _NO_MONEY.search(said):
        return 402
    found = next((_STATUS_BY_LABEL[label] for label in problem.labels if label in _STATUS_BY_LABEL), None)
    return found or (503 if _OVERLOADED.search(said) else None)


def is_call_refused(status: int | None, problem: Problem) -> bool:
    """Whether the server refused to let the model answer this call."""
    return status in (None, 400, 403, 422) and _REFUSED.search(_join(problem)) is not None


def classify_problem(
    status: int | None, problem: Problem, fields: Collection[str]
) -> tuple[FaultKind, int | None]:
    """Finds the kind of a problem, and how many such problems show that no call can be answered.

    Args:
        status: The result of `find_status`.
        problem: The server's message.
        fields: The names of the fields of the request.
    """
    if status is None:
        return "passing", SEVERAL_REFUSALS
    said = _join(problem)
    is_over = status != 429 or _COMES_BACK.search(said) is None  # noqa: PLR2004 - a quota per minute is renewed
    if status in _ALL_REFUSED or status < 400 or (is_over and _NO_MONEY.search(said)):  # noqa: PLR2004
        return "fatal", None
    if _TOO_LONG.search(said) or status == 413:  # noqa: PLR2004
        return "lasting", None
    if status >= 500 or status in _PASSING:  # noqa: PLR2004
        return "busy" if status in _BUSY else "passing", None
    is_alike = _names_parameter(problem, fields) or _ALL_ALIKE.search(said)
    return "lasting", FEW_REFUSALS if is_alike else SEVERAL_REFUSALS


def _names_parameter(problem: Problem, fields: Collection[str]) -> bool:
    """Whether a problem is about a field that every request has; only `messages` has a call's own texts."""
    shared = [name for name in fields if name != "messages"]
    root = re.split(r"[.\[]", problem.parameter or "")[0]
    if root in shared:
        return True
    marked = "|".join(rf"['\"`]{re.escape(name)}['\"`:]|\bbody\.{re.escape(name)}\b" for name in shared)
    bare = "|".join(rf"\b{re.escape(name)}\b" for name in shared if "_" in name or name == "logprobs")
    return re.search("|".join(filter(None, (marked, bare))), problem.words) is not None


def _join(problem: Problem) -> str:
    return " ".join((problem.words.lower(), *problem.labels))
