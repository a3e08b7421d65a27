"""Reads existing verdicts from a file.

The format is JSONL, one verdict per line:

    {"response_a": "r1", "response_b": "r2", "order": "ab", "verdict": "first"}

- `response_a`, `response_b`: response ids as in the responses file, of two responses to one prompt. Or, for
  responses without ids of their own: `prompt` (its text) or `prompt_id`, with `source_a` and `source_b`,
  where each source answered that prompt once.
- `order` (required): `ab` if `response_a` was shown to the judge first, `ba` if `response_b` was.
- `verdict` (required): `first` or `second`, the position of the better answer; `tie`; or null if the judge's answer has
  no verdict: it is kept as `unparsed`, never as a tie.
- `p_first`: P(the answer shown first is better), 0 to 1, if the judge gave probabilities; it must agree with `verdict`.
- `principle_id`: the principle, one of the constitution's; without it, the judge was asked about the whole
  constitution.
- `judge`: the judge's name. A file with several judges needs `name` in judge.yaml, which says which rows
  to read.
- `raw_text`: what the judge wrote.
- `pair_id`: the file's own label; a label used for two different pairs is an error.

The pairs are those in the file. A question has one verdict: the same judge, pair, order and principle twice is an
error. If a pair is judged in only one order, nothing is invented: the gap is counted as `missing`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.asking import count_statuses
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import Order, RecordedResult, Verdict, lean
from rlaif_dagster.prompts import identify_prompt
from rlaif_dagster.reader import read_jsonl

UNNAMED_JUDGE: Final = "recorded"
"""The judge's name when neither the file nor the settings give one."""

_FLIPPED: Final[Mapping[Order, Order]] = {"ab": "ba", "ba": "ab"}


class RecordedLine(BaseModel):
    """One line of a verdicts file; see the module for the fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    response_a: str | None = None
    response_b: str | None = None
    prompt: str | None = None
    prompt_id: str | None = None
    source_a: str | None = None
    source_b: str | None = None
    order: Literal["ab", "ba"]
    verdict: Literal["first", "second", "tie"] | None
    p_first: float | None = Field(default=None, ge=0.0, le=1.0)
    principle_id: str | None = None
    judge: str | None = None
    raw_text: str | None = None
    pair_id: str | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        by_id = (self.response_a, self.response_b)
        by_source = (self.source_a, self.source_b)
        if None not in by_id:
            return self
        if by_id != (None, None) or None in by_source or (self.prompt is None and self.prompt_id is None):
            raise ValueError(
                "the line does not name two responses; remedy: write response_a and response_b, "
                "or source_a and source_b with prompt or prompt_id"
            )
        return self

    @model_validator(mode="after")
    def _check_probability(self) -> Self:
        if self.p_first is None:
            return self
        if self.verdict is None:
            raise ValueError(
                "p_first is given, but the verdict is null; remedy: write the verdict, or remove p_first"
            )
        if self.verdict != "tie" and lean(self.p_first) not in (self.verdict, "tie"):
            raise ValueError(
                f"p_first {self.p_first} contradicts the verdict {self.verdict!r}; remedy: p_first is the "
                "probability that the answer shown first is better: correct one of the two"
            )
        return self


def read_recorded_verdicts(
    path: Path,
    responses: Iterable[Mapping[str, Any]],
    *,
    name: str | None = None,
    principle_ids: Collection[str] | None = None,
) -> RecordedResult:
    """Reads a verdicts file and finds the responses that it names.

    Args:
        path: The file.
        responses: Rows with `response_id`, `prompt_id` and `source`.
        name: The judge whose lines to read; None if the file has only one judge.
        principle_ids: The constitution's principles; None accepts any.

    Raises:
        InputError: If a line is not a verdict, names an unknown response or principle, repeats a
            question, or if the file has no verdict, or several judges while `name` is None.
    """
    index = _ResponseIndex.from_rows(responses)
    pairs: dict[str, Pair] = {}
    labels: dict[str, tuple[str, int]] = {}
    lines: dict[tuple[str, str | None, Order], int] = {}
    verdicts: list[Verdict] = []
    judge: str | None = None
    num_other_judges = 0
    for number, line in read_jsonl(path, RecordedLine):
        if name is not None and line.judge not in (None, name):
            num_other_judges += 1
            continue
        line_judge = line.judge or name or UNNAMED_JUDGE
        if judge is not None and line_judge != judge:
            raise InputError(
                f"the file has several judges: {judge!r} and {line_judge!r}",
                file=path,
                line=number,
                field="judge",
                remedy="name the judge in judge.yaml: `name: ...`",
            )
        judge = line_judge
        _check_principle(line.principle_id, principle_ids, path, number)
        pair, order = _identify_pair(line, index, path, number)
        if line.pair_id is not None:
            known = labels.setdefault(line.pair_id, (pair.pair_id, number))
            if known[0] != pair.pair_id:
                raise InputError(
                    f"the label {line.pair_id!r} is used for other responses on line {known[1]}",
                    file=path,
                    line=number,
                    field="pair_id",
                    remedy="correct the label or the responses, or remove the labels",
                )
        question = (pair.pair_id, line.principle_id, order)
        if question in lines:
            raise InputError(
                f"line {lines[question]} answers the same question (pair, order and principle)",
                file=path,
                line=number,
                remedy="keep one of the two lines",
            )
        lines[question] = number
        pairs[pair.pair_id] = pair
        verdicts.append(_make_verdict(line, pair, order, judge))
    if not verdicts:
        raise InputError(
            "the file has no verdicts" if name is None else f"the file has no verdicts of the judge {name!r}",
            file=path,
            remedy="add lines, or correct the file or the judge's name in judge.yaml",
        )
    place = {
        pair.pair_id: number
        for number, pair in enumerate(
            sorted(pairs.values(), key=lambda pair: (pair.prompt_id, pair.response_a, pair.response_b))
        )
    }
    verdicts.sort(key=lambda verdict: (place[verdict.pair_id], verdict.principle_id or "", verdict.order))
    return RecordedResult(
        pairs=tuple(sorted(pairs.values(), key=lambda pair: place[pair.pair_id])),
        verdicts=tuple(verdicts),
        num_missing=sum((pair, principle, _FLIPPED[order]) not in lines for pair, principle, order in lines),
        num_other_judges=num_other_judges,
        by_status=count_statuses(verdict.status for verdict in verdicts),
    )


@dataclass(frozen=True, slots=True)
class _ResponseIndex:
    """Responses by id, and ids by (prompt, source)."""

    prompt_by_response: dict[str, str]
    by_source: dict[tuple[str, str], list[str]]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        index = cls({}, {})
        for row in rows:
            index.prompt_by_response[row["response_id"]] = row["prompt_id"]
            index.by_source.setdefault((row["prompt_id"], row["source"]), []).append(row["response_id"])
        return index


def _check_principle(
    principle_id: str | None, known: Collection[str] | None, path: Path, number: int
) -> None:
    if principle_id is not None and known is not None and principle_id not in known:
        raise InputError(
            f"the constitution has no principle {principle_id!r}",
            file=path,
            line=number,
            field="principle_id",
            remedy=f"name one of {', '.join(sorted(known))}, or remove the field",
        )


def _identify_pair(line: RecordedLine, index: _ResponseIndex, path: Path, number: int) -> tuple[Pair, Order]:
    """Finds the pair of a line, with its responses in canonical order, and the order in terms of that pair."""
    if line.response_a is not None and line.response_b is not None:
        a, b, fields = line.response_a, line.response_b, ("response_a", "response_b")
    else:
        a = _find_by_source(line, line.source_a or "", "source_a", index, path=path, number=number)
        b = _find_by_source(line, line.source_b or "", "source_b", index, path=path, number=number)
        fields = ("source_a", "source_b")
    for response, field in zip((a, b), fields, strict=True):
        if response not in index.prompt_by_response:
            raise InputError(
                f"there is no response {response!r}",
                file=path,
                line=number,
                field=field,
                remedy="name a response_id of the responses file",
            )
    if a == b:
        raise InputError(
            "a response is compared with itself",
            file=path,
            line=number,
            field=fields[1],
            remedy="name two responses",
        )
    prompt_id = index.prompt_by_response[a]
    if index.prompt_by_response[b] != prompt_id:
        raise InputError(
            "the two responses answer different prompts",
            file=path,
            line=number,
            field=fields[1],
            remedy="name two responses to one prompt",
        )
    return Pair.from_responses(prompt_id, a, b), line.order if a < b else _FLIPPED[line.order]


def _find_by_source(
    line: RecordedLine, source: str, field: str, index: _ResponseIndex, *, path: Path, number: int
) -> str:
    prompt_id = line.prompt_id if line.prompt_id is not None else identify_prompt(line.prompt or "")
    found = index.by_source.get((prompt_id, source), [])
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} responses" if found else "no response"
    raise InputError(
        f"there is {problem} by {source!r} to this prompt",
        file=path,
        line=number,
        field=field,
        remedy="name the responses with response_a and response_b"
        if found
        else "correct the prompt or the source",
    )


def _make_verdict(line: RecordedLine, pair: Pair, order: Order, judge: str) -> Verdict:
    question = ["recorded", judge, pair.pair_id, order, line.principle_id]
    verdict: Preference | None = line.verdict
    verdict_id = Digest.from_json(question).sha256[:32]
    answer = Reply(call_id=verdict_id, status="ok", text=line.raw_text or "", score=line.p_first)
    return Verdict(
        verdict_id=verdict_id,
        pair_id=pair.pair_id,
        prompt_id=pair.prompt_id,
        response_a=pair.response_a,
        response_b=pair.response_b,
        order=order,
        principle_id=line.principle_id,
        judge=judge,
        repeat=0,
        status="unparsed" if verdict is None else "ok",
        p_first=line.p_first,
        verdict=verdict,
        answers=(answer,),
    )
