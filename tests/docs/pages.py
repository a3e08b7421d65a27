"""Reads the pages in `docs/`: reference tables, which name what they describe, and examples.

A reference table stands below a comment with its source, a class or a function that gives a schema:

    <!-- reference: rlaif_dagster.models.ModelSettings -->
    | field | type | default | range | meaning |

An example is a fenced block that says, after the language, what file it stands for:

    ```yaml inputs/judge.yaml
"""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
DOCS = REPOSITORY / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))

_REFERENCE = re.compile(r"<!-- reference: (\S+) -->\n((?:\|.*\n)+)")
_FENCE = re.compile(r"^```(\w*) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: its rows as column -> text, and for a reference table the name of what it describes."""

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


def read_page(name: str, *, below: str | None = None) -> str:
    """The text of a page, or what stands below one of its headings of the second level."""
    text = (DOCS / name).read_text(encoding="utf-8")
    if below is None:
        return text
    _, _, rest = text.partition(f"\n## {below}\n")
    if not rest:
        raise ValueError(f"{name} has no heading {below!r}")
    return rest.partition("\n## ")[0] + "\n"


def read_references(name: str) -> list[Table]:
    """The reference tables of a page."""
    return [_parse_table(lines, source) for source, lines in _REFERENCE.findall(read_page(name))]


def read_table(name: str, *, below: str) -> Table:
    """The first table below a heading."""
    tables = read_tables(name, below=below)
    if not tables:
        raise ValueError(f"{name} has no table below {below!r}")
    return tables[0]


def read_tables(name: str, *, below: str) -> list[Table]:
    """All tables below a heading."""
    found = re.findall(r"^(?:\|.*\n)+", read_page(name, below=below), re.MULTILINE)
    return [_parse_table(lines, "") for lines in found]


def read_examples(name: str, *, below: str | None = None) -> list[Example]:
    """The fenced blocks of a page, or of what stands below one of its headings."""
    return [
        Example(page=name, language=language, label=label.strip(), text=text)
        for language, label, text in _FENCE.findall(read_page(name, below=below))
    ]


def find_source(name: str) -> Any:
    """The object that a reference table describes."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _parse_table(lines: str, source: str) -> Table:
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return Table(source=source, rows=tuple(dict(zip(header, row, strict=True)) for row in body))
