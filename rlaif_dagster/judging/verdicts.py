"""Verdicts: what is asked of a judge, and what came of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from rlaif_dagster.digest import Digest
from rlaif_dagster.judging.pairs import Pair

if TYPE_CHECKING:
    import pyarrow as pa

Order = Literal["ab", "ba"]
"""Which response was shown first: `ab` shows response_a first."""
Preference = Literal["first", "second", "tie"]
"""Which of the two answers shown is better, by its place."""
Status = Literal["ok", "failed", "refused", "unparsed"]
"""`failed`: no answer came; `refused`: the judge would not say; `unparsed`: no clear verdict."""

ORDERS: Final[tuple[Order, Order]] = ("ab", "ba")

_HARD: Final[Mapping[Preference, float]] = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """One question to a judge.

    Attributes:
        verdict_id: The verdict key (see `identify_verdict`).
        pair: The pair in question.
        order: Which response is shown first.
        principle_id: The principle to judge by; None for the whole constitution.
        messages: The rendered chat messages.
    """

    verdict_id: str
    pair: Pair
    order: Order
    principle_id: str | None
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A row of `judgements`: a judge's answer, or its failure, to one request.

    Attributes:
        verdict_id: The verdict key.
        pair_id: The pair.
        prompt_id: Its prompt.
        response_a: Its first response.
        response_b: Its second response.
        order: Which response was shown first.
        principle_id: The principle judged by; None for the whole constitution.
        judge: The judge's name.
        status: Whether there is a preference.
        p_first: P(the answer shown first is better) in [0, 1], where the judge gave one.
        verdict: Which answer shown is better; None unless the status is ok.
        raw_text: What the judge wrote, or why there is no answer.
    """

    verdict_id: str
    pair_id: str
    prompt_id: str
    response_a: str
    response_b: str
    order: Order
    principle_id: str | None
    judge: str
    status: Status
    p_first: float | None
    verdict: Preference | None
    raw_text: str | None

    def __post_init__(self) -> None:
        if (self.verdict is not None) != (self.status == "ok"):
            raise ValueError(f"verdict {self.verdict_id}: status {self.status} with verdict {self.verdict}")
        if self.p_first is not None and not (self.status == "ok" and 0.0 <= self.p_first <= 1.0):
            raise ValueError(f"verdict {self.verdict_id}: status {self.status} with p_first {self.p_first}")

    @property
    def probability_first(self) -> float | None:
        """P(the answer shown first is better): the judge's own, or 1, 0 or 0.5 for a verdict without one."""
        if self.verdict is None:
            return None
        return _HARD[self.verdict] if self.p_first is None else self.p_first

    @property
    def probability_a(self) -> float | None:
        """P(response_a is better) by this verdict alone."""
        first = self.probability_first
        if first is None:
            return None
        return first if self.order == "ab" else 1.0 - first

    @classmethod
    def from_request(
        cls,
        request: JudgeRequest,
        *,
        judge: str,
        status: Status,
        p_first: float | None = None,
        verdict: Preference | None = None,
        raw_text: str | None = None,
    ) -> Self:
        """Answers a request."""
        pair = request.pair
        return cls(
            verdict_id=request.verdict_id,
            pair_id=pair.pair_id,
            prompt_id=pair.prompt_id,
            response_a=pair.response_a,
            response_b=pair.response_b,
            order=request.order,
            principle_id=request.principle_id,
            judge=judge,
            status=status,
            p_first=p_first,
            verdict=verdict,
            raw_text=raw_text,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads a row of the table: `Verdict.from_row(v.to_row()) == v`."""
        return cls(**row)

    def to_row(self) -> dict[str, Any]:
        """The row of the table."""
        return asdict(self)


def identify_verdict(judge: Digest, messages: tuple[dict[str, str], ...], order: Order) -> str:
    """The verdict key: what was asked, of whom, and how the answer is read.

    Args:
        judge: The judge's fingerprint, which covers its weights, its decoding and the version of its parser.
        messages: The rendered messages, with principle, prompt and answers in them.
        order: Which response is shown first.
    """
    return Digest.from_json([str(judge), list(messages), order]).sha256[:32]


def lean(probability: float) -> Preference:
    """The side on which a probability of "first" lies; only 0.5 itself is a tie."""
    if probability == 0.5:  # noqa: PLR2004
        return "tie"
    return "first" if probability > 0.5 else "second"  # noqa: PLR2004


def judgements_schema() -> "pa.Schema":
    """The columns of the `judgements` table."""
    import pyarrow as pa

    required = ("verdict_id", "pair_id", "prompt_id", "response_a", "response_b", "order")
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in required),
            pa.field("principle_id", pa.string()),
            pa.field("judge", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("p_first", pa.float64()),
            pa.field("verdict", pa.string()),
            pa.field("raw_text", pa.string()),
        ]
    )
