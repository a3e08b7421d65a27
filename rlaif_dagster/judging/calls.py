"""Calls: what one judge is asked once, and what it answered.

A call is named by what was asked and of whom; not by how its answer is read, so that another parser reads old
answers and asks nothing. The name is made of texts, without rendering the judge's prompt: a plan can count calls
at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from rlaif_dagster.digest import Digest

if TYPE_CHECKING:
    import pyarrow as pa

AnswerStatus = Literal["ok", "failed", "refused"]
"""`ok`: the judge spoke; `failed`: no answer came; `refused`: the judge would not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing put to one judge.

    Attributes:
        call_id: Judge, texts and repeat, as a digest.
        texts: What the template's variables stand for: `principle` and `prompt`, with `first` and `second` for two
            answers to compare, or with `answer` for one to rate.
        repeat: The 0-based repeat index of the question.
    """

    call_id: str
    texts: Mapping[str, str]
    repeat: int

    @classmethod
    def from_texts(cls, judge: Digest, texts: Mapping[str, str], repeat: int = 0) -> "Call":
        """Names a call."""
        call_id = Digest.from_json([str(judge), dict(texts), repeat]).sha256[:32]
        return cls(call_id=call_id, texts=texts, repeat=repeat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a call.

    Attributes:
        call_id: The call.
        status: Whether the judge spoke.
        text: What it wrote, where it wrote.
        score: Where the answer was read from probabilities: P(the first answer is better) in [0, 1], or the
            expected rating.
        reason: Why there is no answer, unless the status is ok.
        input_tokens: Tokens read, where counted.
        output_tokens: Tokens written, where counted.
        cut: Whether an answer shown to the judge had to be cut.
    """

    call_id: str
    status: AnswerStatus
    text: str | None = None
    score: float | None = None
    reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        if self.status == "ok" and self.text is None and self.score is None:
            raise ValueError(f"call {self.call_id}: the status is ok, but nothing was answered")

    @property
    def is_missing(self) -> bool:
        """Whether no reply came at all; one that was cut off came, and has a text, be it empty."""
        return self.status == "failed" and self.text is None


def answer_type() -> "pa.StructType":
    """An answer as a column's type."""
    import pyarrow as pa

    return pa.struct(
        [
            pa.field("call_id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("score", pa.float64()),
            pa.field("reason", pa.string()),
            pa.field("input_tokens", pa.int64()),
            pa.field("output_tokens", pa.int64()),
            pa.field("cut", pa.bool_(), nullable=False),
        ]
    )


class Judge(Protocol):
    """Anything that answers calls."""

    def ask(self, calls: Iterable[Call]) -> Iterator[Sequence[Answer]]:
        """Yields one answer for each call, in any order, as soon as they are known; those known by then together.

        Calls are taken as they are needed: there may be more of them than fit into memory. A call that cannot be
        answered yields a `failed` or `refused` answer.

        Raises:
            JudgeError: If the judge cannot answer at all, or may not spend more.
        """
