"""Validates, deduplicates and splits prompts by content.

A prompt's identity is its text (Unicode NFC, without outer white space), so its line, its file and its neighbours do
not matter: adding a prompt moves no other prompt between the splits.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import InputError
from rlaif_dagster.reader import read_jsonl
from rlaif_dagster.seeds import SEED_BITS, derive_seed

if TYPE_CHECKING:
    import pyarrow as pa

Split = Literal["train", "eval"]


class PromptsSettings(BaseModel):
    """Where the prompts are and how many are held out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str = "inputs/prompts.jsonl"
    """JSONL, one `{"prompt": text, "category": text or null}` per line; a path inside the project."""
    eval_fraction: float = Field(default=0.3, gt=0, lt=1)
    """The expected share of prompts held out from all training."""


class PromptLine(BaseModel):
    """One line of the prompts file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str
    category: str | None = None

    @field_validator("prompt")
    @classmethod
    def _normalise(cls, text: str) -> str:
        normal = normalise_prompt(text)
        if not normal:
            raise ValueError("the prompt is empty; remedy: write its text or remove the line")
        return normal


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Prompt:
    """A prompt with its identity and its split."""

    prompt_id: str
    prompt: str
    category: str | None
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsResult:
    """Prompts sorted by id, and how many lines were duplicates."""

    prompts: tuple[Prompt, ...]
    num_duplicates: int

    def describe(self) -> str:
        """The digest of the prompts; repeated lines change nothing."""
        rows: JsonValue = [[p.prompt_id, p.prompt, p.category, p.split] for p in self.prompts]
        return str(Digest.from_json(rows))


def normalise_prompt(text: str) -> str:
    """Normalises a prompt for its identity."""
    return unicodedata.normalize("NFC", text).strip()


def identify_prompt(text: str) -> str:
    """The id of a prompt: 16 hex digits of the digest of its normalised text."""
    return Digest.from_bytes(normalise_prompt(text).encode()).sha256[:16]


def read_prompt_lines(path: Path) -> tuple[PromptLine, ...]:
    """Reads a prompts file.

    Raises:
        InputError: If the file is missing or empty, or a line is not a prompt.
    """
    lines = tuple(line for _, line in read_jsonl(path, PromptLine))
    if not lines:
        raise InputError(
            "the file has no prompts", file=path, remedy='add lines such as {"prompt": "How do I ...?"}'
        )
    return lines


def split_prompts(lines: Iterable[PromptLine], *, eval_fraction: float, root_seed: int) -> PromptsResult:
    """Deduplicates prompts and splits them by content.

    Each prompt falls into `eval` with probability `eval_fraction`, decided by a seed from its id alone; two prompts
    that differ only in letter case, punctuation or spacing fall into the same split, so that near copies do not leak.
    If a prompt has several categories, the alphabetically first counts, so that the order of lines does not matter.
    """
    prompts: dict[str, Prompt] = {}
    num_lines = 0
    for line in sorted(lines, key=lambda line: (line.category is None, line.category or "")):
        num_lines += 1
        prompt_id = identify_prompt(line.prompt)
        if prompt_id not in prompts:
            draw = derive_seed(root_seed, "split", _fold(line.prompt)) / 2**SEED_BITS
            split: Split = "eval" if draw < eval_fraction else "train"
            prompts[prompt_id] = Prompt(
                prompt_id=prompt_id, prompt=line.prompt, category=line.category, split=split
            )
    return PromptsResult(
        prompts=tuple(sorted(prompts.values(), key=lambda prompt: prompt.prompt_id)),
        num_duplicates=num_lines - len(prompts),
    )


def find_leaks(prompts: Iterable[Prompt]) -> list[tuple[str, str]]:
    """Lists pairs of prompt ids in different splits whose texts agree up to case, punctuation and spacing."""
    first: dict[str, Prompt] = {}
    leaks = []
    for prompt in prompts:
        twin = first.setdefault(_fold(prompt.prompt), prompt)
        if twin.split != prompt.split:
            leaks.append((twin.prompt_id, prompt.prompt_id))
    return leaks


def prompts_schema() -> "pa.Schema":
    """The columns of the `prompts` table."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("prompt_id", pa.string(), nullable=False),
            pa.field("prompt", pa.string(), nullable=False),
            pa.field("category", pa.string()),
            pa.field("split", pa.string(), nullable=False),
        ]
    )


def _fold(text: str) -> str:
    words = "".join(char if char.isalnum() else " " for char in text.casefold()).split()
    return " ".join(words) or text
