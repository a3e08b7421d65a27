"""Calls: one question to one judge, and its answer.

A call is identified by the question and the judge, not by how its answer is read. So another parser can read old
answers, and nothing is asked again. The identity is computed from texts, without rendering the judge's prompt, so that
a plan can count calls quickly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from rlaif_dagster.digest import Digest

if TYPE_CHECKING:
    import pyarrow as pa

ReplyStatus = Literal["ok", "failed", "refused"]
"""`ok`: the judge answered; `failed`: no answer came; `refused`: the judge refused to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to one judge.

    Attributes:
        call_id: The digest of judge, texts and repeat.
        texts: The values of the template's variables: `principle` and `prompt`, with `first` and `second` for two
            answers to compare, or with `answer` for one to rate.
        repeat: The 0-based repeat index of the question.
    """

    call_id: str
    texts: Mapping[str, str]
    repeat: int

    @classmethod
    def from_texts(cls, judge: Digest, texts: Mapping[str, str], repeat: int = 0) -> "Call":
        """Makes a call and its id."""
        call_id = Digest.from_json([str(judge), dict(texts), repeat]).sha256[:32]
        return cls(call_id=call_id, texts=texts, repeat=repeat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a call.

    Attributes:
        call_id: The call.
        status: Whether the judge answered.
        text: What it wrote, if it wrote.
        score: If the answer was read from probabilities: P(the first answer is better) in [0, 1], or the expected
            rating.
        reason: Why there is no answer, if the status is not ok.
        input_tokens: Tokens read, if counted.
        output_tokens: Tokens written, if counted.
        cut: Whether an answer shown to the judge had to be cut.
    """

    call_id: str
    status: ReplyStatus
    text: str | None = None
    score: float | None = None
    reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        if self.status == "ok" and self.text is None and self.score is None:
            raise ValueError(f"call {self.call_id}: the status is ok, but there is no answer")

    @property
    def is_missing(self) -> bool:
        """Whether no reply came. A reply that was cut off did come: it has a text, which may be empty."""
        return self.status == "failed" and self.text is None


def answer_type() -> "pa.StructType":
    """The Arrow type of an answer."""
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

    def ask(self, calls: Iterable[Call]) -> Iterator[Sequence[Reply]]:
        """Yields one answer for each call, in any order, in groups, as soon as they are known.

        Calls are read as needed: there may be more of them than fit into memory. A call that cannot be
        answered yields a `failed` or `refused` answer.

        Raises:
            JudgeError: If the judge cannot answer at all, or the budget is used up.
        """
