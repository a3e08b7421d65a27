"""Labels by people. They measure a judge, and can count beside its labels (`preferences.human_weight`).

The format is JSONL, one label per line:

    {"prompt": "How are you?", "text_a": "Fine, thank you.", "text_b": "Why?", "label": "a", "annotator": "kim"}

Each answer is named by `response_a` (its id among the sampled responses) or given as `text_a`; likewise b. A prompt
given by its text need not be in the prompts file. If several annotators labelled a pair, the majority wins; equally
many votes for a and b make a tie.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.prompts import identify_prompt, normalise_prompt
from rlaif_dagster.reader import read_jsonl

HumanLabel = Literal["a", "b", "tie"]
"""The better answer of a pair, a or b, or a tie."""

HUMAN_VALUES: Final[Mapping[HumanLabel, float]] = {"a": 1.0, "b": 0.0, "tie": 0.5}
"""P(a preferred) of each label."""

_MIRRORED: Final[Mapping[HumanLabel, HumanLabel]] = {"a": "b", "b": "a", "tie": "tie"}


class HumanLine(BaseModel):
    """One line of a file of human labels; see the module for the fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    prompt: str | None = Field(default=None, min_length=1)
    prompt_id: str | None = None
    response_a: str | None = None
    response_b: str | None = None
    text_a: str | None = Field(default=None, min_length=1)
    text_b: str | None = Field(default=None, min_length=1)
    label: HumanLabel
    annotator: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if (self.prompt is None) == (self.prompt_id is None):
            raise ValueError("the line names no prompt, or two; remedy: write either prompt or prompt_id")
        for side in "ab":
            if (getattr(self, f"response_{side}") is None) == (getattr(self, f"text_{side}") is None):
                raise ValueError(
                    f"the line names no answer {side}, or two; remedy: write either response_{side} or text_{side}"
                )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanLabels:
    """The labels of a file.

    Attributes:
        labels: The better answer of each pair.
        prompts: The text of the pairs' prompts, by prompt id.
        texts: The text of the pairs' answers, by response id.
    """

    labels: Mapping[Pair, HumanLabel]
    prompts: Mapping[str, str]
    texts: Mapping[str, str]


def read_human_labels(
    path: Path, *, prompts: Mapping[str, str], responses: Iterable[Mapping[str, Any]]
) -> HumanLabels:
    """Reads a file of human labels, and finds the responses that they name.

    Args:
        path: The file.
        prompts: Prompt text by prompt id.
        responses: Rows with `response_id`, `prompt_id` and `text`.

    Raises:
        InputError: If a line is not a label, names what does not exist, compares an answer with itself, repeats an
            annotator's label of a pair, or if there is no line.
    """
    index = _Index.from_rows(prompts, responses)
    votes: dict[Pair, Counter[HumanLabel]] = {}
    lines: dict[tuple[Pair, str | None], int] = {}
    asked: dict[str, str] = {}
    texts: dict[str, str] = {}
    for number, line in read_jsonl(path, HumanLine):
        place = _Place(path, number)
        prompt_id = index.find_prompt(line, place)
        shown = [index.find_answer(line, prompt_id, side, place) for side in "ab"]
        if shown[0][1] == shown[1][1]:
            raise place.blame("the two answers are the same text", remedy="compare two different answers")
        pair = Pair.from_responses(prompt_id, shown[0][0], shown[1][0])
        earlier = lines.setdefault((pair, line.annotator), number)
        if earlier != number:
            raise place.blame(
                f"line {earlier} has a label of the same annotator for this pair",
                remedy="keep one of the two lines, or distinguish the annotators with `annotator`",
            )
        label = line.label if shown[0][0] == pair.response_a else _MIRRORED[line.label]
        votes.setdefault(pair, Counter())[label] += 1
        asked[prompt_id] = prompts.get(prompt_id) or normalise_prompt(str(line.prompt))
        texts.update(shown)
    if not votes:
        raise InputError("the file has no labels", file=path, remedy="write one label on each line")
    return HumanLabels(
        labels={pair: _decide(votes[pair]) for pair in sorted(votes)}, prompts=asked, texts=texts
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of the file."""

    path: Path
    number: int

    def blame(self, problem: str, *, remedy: str, field: str | None = None) -> InputError:
        return InputError(problem, file=self.path, line=self.number, field=field, remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Index:
    """Prompts by id, responses by id, and ids by (prompt, text)."""

    prompts: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]
    by_text: Mapping[tuple[str, str], str]

    @classmethod
    def from_rows(cls, prompts: Mapping[str, str], responses: Iterable[Mapping[str, Any]]) -> Self:
        rows = {row["response_id"]: row for row in responses}
        # For equal texts the first id is used, as in the pairs.
        by_text = {(rows[name]["prompt_id"], rows[name]["text"]): name for name in sorted(rows, reverse=True)}
        return cls(prompts, rows, by_text)

    def find_prompt(self, line: HumanLine, place: _Place) -> str:
        if line.prompt is not None:
            return identify_prompt(line.prompt)
        if line.prompt_id is None or line.prompt_id not in self.prompts:
            raise place.blame(
                f"there is no prompt {line.prompt_id!r}",
                field="prompt_id",
                remedy="name a prompt_id of the prompts, or write the prompt's text as `prompt`",
            )
        return line.prompt_id

    def find_answer(self, line: HumanLine, prompt_id: str, side: str, place: _Place) -> tuple[str, str]:
        """Finds the id and the text of an answer."""
        name, text = getattr(line, f"response_{side}"), getattr(line, f"text_{side}")
        if text is not None:
            known = self.by_text.get((prompt_id, text))
            return known or Digest.from_json(["human", prompt_id, text]).sha256[:16], text
        row = self.rows.get(name)
        if row is None or row["prompt_id"] != prompt_id:
            raise place.blame(
                f"there is no response {name!r} to this prompt",
                field=f"response_{side}",
                remedy=f"name a response_id of the sampled responses, or write the answer as `text_{side}`",
            )
        return name, row["text"]


def _decide(votes: Mapping[HumanLabel, int]) -> HumanLabel:
    num_a, num_b = votes.get("a", 0), votes.get("b", 0)
    return "a" if num_a > num_b else "b" if num_b > num_a else "tie"
