"""Verdict rows, and the JSONL file from which they are read.

One verdict per line:

    {"pair_id": "p1", "judge": "gpt-4", "order": "ab", "verdict": "first", "ground_truth": "a",
     "len_a": 120, "len_b": 80}

`ground_truth`, `len_a`, `len_b`, `source_a` and `source_b` are facts about the pair: a and b are the same answers in
both orders. A line may omit them if another line of the pair has them, and two lines must not contradict each other.
Unknown fields are not used; the result lists them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import Order, VerdictStatus
from rlaif_dagster.reader import read_jsonl

Label = Literal["a", "b", "tie"]
"""Which of the two answers of a pair is better, by name (a, b), not by position."""

LABELS: Final[tuple[Label, ...]] = ("a", "b", "tie")

_FACTS: Final = ("ground_truth", "len_a", "len_b", "source_a", "source_b")
_CHOICES: Final[Mapping[tuple[Order, Preference], Label]] = {
    ("ab", "first"): "a",
    ("ab", "second"): "b",
    ("ab", "tie"): "tie",
    ("ba", "first"): "b",
    ("ba", "second"): "a",
    ("ba", "tie"): "tie",
}


class VerdictLine(BaseModel):
    """One line of a verdicts file for an audit; see the module for the fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    pair_id: str | int
    judge: str
    order: Literal["ab", "ba"]
    verdict: Literal["first", "second", "tie"] | None
    status: Literal["ok", "failed", "refused", "unparsed"] | None = None
    p_first: float | None = Field(default=None, ge=0.0, le=1.0)
    ground_truth: Literal["a", "b", "tie"] | None = None
    len_a: float | None = Field(default=None, ge=0.0)
    len_b: float | None = Field(default=None, ge=0.0)
    source_a: str | None = None
    source_b: str | None = None
    repeat: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _check_status(self) -> Self:
        if self.status is not None and (self.status == "ok") != (self.verdict is not None):
            raise ValueError(
                f"status {self.status!r} does not fit the verdict {self.verdict!r}; remedy: a verdict has the status "
                "ok, and null has failed, refused or unparsed"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """What is known about a pair besides the verdicts.

    Attributes:
        pair_id: The pair.
        prompt_id: The prompt; if it is given, prompts, not pairs, are the independent draws.
        ground_truth: The better answer by people or ground truth; None if there is none.
        len_a: Length of answer a, in the file's unit.
        len_b: Length of answer b, in the same unit.
        source_a: Who wrote answer a.
        source_b: Who wrote answer b.
    """

    pair_id: str
    prompt_id: str | None = None
    ground_truth: Label | None = None
    len_a: float | None = None
    len_b: float | None = None
    source_a: str | None = None
    source_b: str | None = None

    @property
    def cluster(self) -> str:
        """The cluster of correlated verdicts: the pair's prompt, or else the pair itself."""
        return self.prompt_id or self.pair_id

    @property
    def longer(self) -> Label | None:
        """The longer answer; `tie` if both have the same length; None if a length is unknown."""
        if self.len_a is None or self.len_b is None:
            return None
        if self.len_a == self.len_b:
            return "tie"
        return "a" if self.len_a > self.len_b else "b"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One judge's answer to one question about a pair.

    Attributes:
        pair: The pair.
        judge: The judge's name.
        order: Which answer was shown first.
        repeat: The 0-based repeat index of the question.
        verdict: The better answer by position; None if there is no verdict.
        status: Why there is none; None if the file does not say (then it counts as unparsed).
        p_first: P(the answer shown first is better), if the judge gave one.
    """

    pair: PairFacts
    judge: str
    order: Order
    repeat: int = 0
    verdict: Preference | None
    status: VerdictStatus | None = None
    p_first: float | None = None

    @property
    def choice(self) -> Label | None:
        """The better answer by name; None if there is no verdict."""
        return None if self.verdict is None else _CHOICES[self.order, self.verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFile:
    """The content of a verdicts file.

    Attributes:
        rows: The verdicts in the order of the file.
        unused_fields: Names of fields that the audit does not know, sorted.
    """

    rows: tuple[JudgedRow, ...]
    unused_fields: tuple[str, ...]


def read_verdict_file(path: Path) -> VerdictFile:
    """Reads a verdicts file.

    Raises:
        InputError: If the file is missing or empty, a line is not a verdict, two lines answer the same question,
            or contradict each other about a pair.
    """
    lines: list[VerdictLine] = []
    seen: dict[tuple[str, str, str, int], int] = {}
    facts: dict[str, dict[str, tuple[Any, int]]] = {}
    unused: set[str] = set()
    for number, line in read_jsonl(path, VerdictLine):
        pair_id = str(line.pair_id)
        question = (line.judge, pair_id, line.order, line.repeat or 0)
        if question in seen:
            raise InputError(
                f"line {seen[question]} has a verdict of the judge {line.judge!r} on the pair {pair_id!r} "
                f"in the order {line.order!r} already",
                file=path,
                line=number,
                remedy="keep one of the two lines, or number them with `repeat` if the judge was asked again",
            )
        seen[question] = number
        _note_facts(line, facts.setdefault(pair_id, {}), path, number)
        unused.update(line.model_extra or {})
        lines.append(line)
    if not lines:
        raise InputError(
            "the file has no verdicts",
            file=path,
            remedy="write one verdict on each line (docs/judge-audit.md)",
        )
    pairs = {
        pair_id: PairFacts(pair_id=pair_id, **{name: value for name, (value, _) in known.items()})
        for pair_id, known in facts.items()
    }
    return VerdictFile(
        rows=tuple(_make_rows(lines, pairs)),
        unused_fields=tuple(sorted(unused)),
    )


def group_by_judge(rows: Iterable[JudgedRow]) -> dict[str, list[JudgedRow]]:
    """Groups rows by judge, judges sorted by name."""
    groups: dict[str, list[JudgedRow]] = {}
    for row in rows:
        groups.setdefault(row.judge, []).append(row)
    return dict(sorted(groups.items()))


def _note_facts(line: VerdictLine, known: dict[str, tuple[Any, int]], path: Path, number: int) -> None:
    for name in _FACTS:
        value = getattr(line, name)
        if value is None:
            continue
        earlier, where = known.setdefault(name, (value, number))
        if earlier != value:
            raise InputError(
                f"{name} is {value!r} here and {earlier!r} on line {where}, for the same pair {line.pair_id!r}",
                file=path,
                line=number,
                field=name,
                remedy="ground_truth, lengths and sources are about a and b, not about the shown order: "
                "correct one of the "
                "two, or use different ids for different pairs",
            )


def _make_rows(lines: Iterable[VerdictLine], pairs: Mapping[str, PairFacts]) -> Iterable[JudgedRow]:
    for line in lines:
        yield JudgedRow(
            pair=pairs[str(line.pair_id)],
            judge=line.judge,
            order=line.order,
            repeat=line.repeat or 0,
            verdict=line.verdict,
            status=line.status,
            p_first=line.p_first,
        )
