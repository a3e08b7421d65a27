"""Reads the pages in `docs/`: reference tables that name what they describe, examples, commands and links.

A reference table stands below a comment that names its source, a class or a function that gives a schema:

    <!-- reference: rlaif_dagster.models.ModelSettings -->
    | field | type | default | range | meaning |

An example is a fenced block whose first line names the file that it stands for, after the language:

    ```yaml inputs/judge.yaml
"""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_REFERENCE = re.compile(r"<!-- reference: (\S+) -->\n+((?:\|.*\n)+)")
_FENCE = re.compile(r"^```(\w+)?[ ]?(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
_CELL_BORDER = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A reference table: where its rows come from, and its rows as column -> text."""

    source: str
    rows: tuple[dict[str, str], ...]

    @property
    def columns(self) -> list[str]:
        return list(self.rows[0])

    def cells(self, column: str) -> list[str]:
        """The texts of one column, from top to bottom."""
        return [row[column] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A fenced block."""

    page: str
    language: str
    label: str
    text: str


def read_page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def read_tables(name: str) -> list[Table]:
    """The reference tables of a page."""
    tables = []
    for source, lines in _REFERENCE.findall(read_page(name)):
        header, _, *body = [
            [cell.strip() for cell in _CELL_BORDER.split(line.strip())[1:-1]] for line in lines.splitlines()
        ]
        tables.append(Table(source=source, rows=tuple(dict(zip(header, row, strict=True)) for row in body)))
    return tables


def read_examples(name: str) -> list[Example]:
    """The fenced blocks of a page."""
    return [
        Example(page=name, language=language, label=label.strip(), text=text)
        for language, label, text in _FENCE.findall(read_page(name))
    ]


def find_source(name: str) -> Any:
    """The object that a reference table names."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
