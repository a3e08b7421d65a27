"""Responses that already exist, imported from JSONL.

One response per line:

    {"prompt": "the prompt's text", "source": "gpt-4", "text": "the answer"}
    {"prompt_id": "5f0c...", "source": "gpt-4", "text": "the answer", "response_id": "q81/gpt-4"}
    {"prompt": "the prompt's text", "source": "gpt-4", "text": "an answer that was", "finish_reason": "length"}

A line names its prompt by `prompt_id` or by `prompt` (compared in NFC, without outer white space); both may be given
if they agree. `response_id` is kept if it is given; otherwise it is made from prompt, source and text.
`finish_reason` is `length` for an answer that was cut at a token limit; without it an answer counts as complete.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from rlaif_dagster.errors import InputError
from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.generation.responses import identify_recorded_response
from rlaif_dagster.generation.settings import ResponsesSettings
from rlaif_dagster.prompts import identify_prompt
from rlaif_dagster.reader import read_jsonl
from rlaif_dagster.tables import Row


class RecordedSamplingSettings(ResponsesSettings):
    """Responses that already exist."""

    provider: Literal["recorded"]
    responses: str
    """A JSONL file inside the project."""

    @property
    def recorded_file(self) -> str | None:
        """The file with the responses, inside the project."""
        return self.responses


class RecordedResponseLine(BaseModel):
    """One line of the responses file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt_id: str | None = None
    prompt: str | None = None
    source: str
    text: str
    response_id: str | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponses:
    """Rows of the `sampled_responses` table, sorted by prompt and index, and how many there are of each source."""

    rows: tuple[Row, ...]
    num_by_source: Mapping[str, int]


def import_responses(path: Path, prompts: Iterable[Row]) -> RecordedResponses:
    """Reads recorded responses and finds the prompt of each.

    Args:
        path: The JSONL file.
        prompts: Rows of the `prompts` table.

    Raises:
        InputError: If the file is missing or empty, or a line is not JSON, has a wrong field, names no known
            prompt, has an empty text or source, or repeats a response id.
    """
    known = {row["prompt_id"] for row in prompts}
    lines_by_id: dict[str, int] = {}
    num_by_prompt: Counter[str] = Counter()
    rows: list[Row] = []
    for number, line in read_jsonl(path, RecordedResponseLine):
        for field, value in (("text", line.text), ("source", line.source), ("response_id", line.response_id)):
            if value is not None and not value.strip():
                raise InputError(
                    f"the field is empty, got {value!r}",
                    file=path,
                    line=number,
                    field=field,
                    remedy="fill it in, or remove the line",
                )
        prompt_id = _find_prompt(line, known, file=path, number=number)
        response_id = line.response_id or identify_recorded_response(
            prompt_id=prompt_id, source=line.source, text=line.text
        )
        if response_id in lines_by_id:
            raise InputError(
                f"the response {response_id!r} is already on line {lines_by_id[response_id]}",
                file=path,
                line=number,
                field="response_id",
                remedy="give each response its own id, or remove the repeated line",
            )
        lines_by_id[response_id] = number
        rows.append(
            {
                "response_id": response_id,
                "prompt_id": prompt_id,
                "source": line.source,
                "index": num_by_prompt[prompt_id],
                "seed": None,
                "text": line.text,
                "num_tokens": None,
                "finish_reason": line.finish_reason,
            }
        )
        num_by_prompt[prompt_id] += 1
    if not rows:
        raise InputError(
            "the file has no responses",
            file=path,
            remedy='add lines such as {"prompt": "...", "source": "...", "text": "..."}',
        )
    rows.sort(key=lambda row: (row["prompt_id"], row["index"]))
    return RecordedResponses(
        rows=tuple(rows), num_by_source=dict(sorted(Counter(row["source"] for row in rows).items()))
    )


def _find_prompt(line: RecordedResponseLine, known: set[str], *, file: Path, number: int) -> str:
    by_text = None if line.prompt is None else identify_prompt(line.prompt)
    prompt_id = line.prompt_id or by_text
    if prompt_id is None:
        raise InputError(
            "the line names no prompt",
            file=file,
            line=number,
            field="prompt",
            remedy="write `prompt` (its text) or `prompt_id`",
        )
    if by_text is not None and prompt_id != by_text:
        raise InputError(
            f"`prompt_id` {prompt_id!r} is not the id of the text in `prompt` ({by_text!r})",
            file=file,
            line=number,
            field="prompt_id",
            remedy="remove one of the two, or correct it",
        )
    if prompt_id not in known:
        field = "prompt" if line.prompt_id is None else "prompt_id"
        got = line.prompt if line.prompt_id is None else line.prompt_id
        raise InputError(
            f"the project has no prompt {got[:80] if got else got!r}",
            file=file,
            line=number,
            field=field,
            remedy="add the prompt to the prompts file, or correct this field",
        )
    return prompt_id


SETTINGS: Final = RecordedSamplingSettings
