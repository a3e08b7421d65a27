"""Verdicts: which answer of a pair is better, and the judge's answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from rlaif_dagster.judging.calls import Reply, answer_type
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.reading import Preference

if TYPE_CHECKING:
    import pyarrow as pa

Order = Literal["ab", "ba"]
"""Which response was shown first: `ab` shows response_a first."""
VerdictStatus = Literal["ok", "failed", "refused", "unparsed"]
"""`failed`: no answer came; `refused`: the judge refused to answer; `unparsed`: no clear verdict."""

ORDERS: Final[tuple[Order, Order]] = ("ab", "ba")

HARD_PROBABILITY: Final[Mapping[Preference, float]] = {"first": 1.0, "second": 0.0, "tie": 0.5}
"""P(first is better) for a verdict without a probability."""


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
        repeat: The 0-based repeat index of the question.
        status: Whether there is a preference.
        p_first: P(the answer shown first is better) in [0, 1], if the judge gave one.
        verdict: Which answer shown is better; None unless the status is ok.
        answers: The judge's answers, or why there are none: one answer about both, or one about each, starting with the
            answer shown first.
    """

    verdict_id: str
    pair_id: str
    prompt_id: str
    response_a: str
    response_b: str
    order: Order
    principle_id: str | None
    judge: str
    repeat: int
    status: VerdictStatus
    p_first: float | None
    verdict: Preference | None
    answers: tuple[Reply, ...]

    def __post_init__(self) -> None:
        if (self.verdict is not None) != (self.status == "ok"):
            raise ValueError(f"verdict {self.verdict_id}: status {self.status} with verdict {self.verdict}")
        if self.p_first is not None and not (self.status == "ok" and 0.0 <= self.p_first <= 1.0):
            raise ValueError(f"verdict {self.verdict_id}: status {self.status} with p_first {self.p_first}")

    @property
    def pair(self) -> Pair:
        """The pair that is judged."""
        return Pair(
            pair_id=self.pair_id,
            prompt_id=self.prompt_id,
            response_a=self.response_a,
            response_b=self.response_b,
        )

    @property
    def is_missing(self) -> bool:
        """Whether a reply is missing that another try may get."""
        return any(answer.is_missing for answer in self.answers)

    @property
    def probability_first(self) -> float | None:
        """P(the answer shown first is better): the judge's own, or 1, 0 or 0.5 for a verdict without one."""
        if self.verdict is None:
            return None
        return HARD_PROBABILITY[self.verdict] if self.p_first is None else self.p_first

    @property
    def probability_a(self) -> float | None:
        """P(response_a is better) by this verdict alone."""
        first = self.probability_first
        if first is None:
            return None
        return first if self.order == "ab" else 1.0 - first

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads a row of the table: `Verdict.from_row(v.to_row()) == v`."""
        return cls(**{**row, "answers": tuple(Reply(**answer) for answer in row["answers"])})

    def to_row(self) -> dict[str, Any]:
        """The row of the table."""
        return asdict(self)


def lean(probability: float) -> Preference:
    """Returns the side that a probability of "first" favours; only 0.5 itself is a tie."""
    if probability == 0.5:  # noqa: PLR2004
        return "tie"
    return "first" if probability > 0.5 else "second"  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResult:
    """The content of a verdicts file.

    Attributes:
        pairs: The pairs judged, sorted by prompt and responses.
        verdicts: The verdicts, sorted by pair, principle and order.
        num_missing: Questions (pair, principle, order) without a verdict line whose twin in the other order has one.
        num_other_judges: Lines of other judges.
        by_status: Number of verdicts by status.
    """

    pairs: tuple[Pair, ...]
    verdicts: tuple[Verdict, ...]
    num_missing: int
    num_other_judges: int
    by_status: Mapping[str, int]


def judgements_schema() -> "pa.Schema":
    """The columns of the `judgements` table."""
    import pyarrow as pa

    def text(*names: str) -> list[pa.Field]:
        return [pa.field(name, pa.string(), nullable=False) for name in names]

    return pa.schema(
        [
            *text("verdict_id", "pair_id", "prompt_id", "response_a", "response_b", "order"),
            pa.field("principle_id", pa.string()),
            *text("judge"),
            pa.field("repeat", pa.int64(), nullable=False),
            *text("status"),
            pa.field("p_first", pa.float64()),
            pa.field("verdict", pa.string()),
            pa.field("answers", pa.list_(answer_type()), nullable=False),
        ]
    )
