"""Reads the commands that the pages tell people to type, block by block.

In a `console` block these are the lines behind `$ `, and what stands below one is its output. In other blocks, fenced
or indented, they are the lines that begin with a program. What follows ` #` behind spaces is a remark.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import DOCS, REPOSITORY

COMMAND_PAGES = (
    "README.md",
    *sorted(path.relative_to(REPOSITORY).as_posix() for path in DOCS.rglob("*.md")),
    "examples/recorded/README.md",
    "rlaif_dagster/project_template/README.md",
)
_BLOCK = re.compile(r"^```(\w*).*\n((?:.*\n)*?)```$|^\n((?:    .*\n)+)", re.MULTILINE)
_PROGRAM = re.compile(r"(?:rlaif|dagster|dvc|git|make|pip|python3?|tensorboard|cp|export) ")
_REMARK = re.compile(r"\s+#\s.*$")
_SYNOPSIS = "[--"
"""Marks what may be left out: such a line says how a command is called, and is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and whether the page shows that it fails: an error as its output, or a conflict in the remark."""

    text: str
    is_refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands that stand together.

    Attributes:
        page: The page, from the repository on.
        number: Its place among the page's blocks with commands, from 1.
        commands: The commands.
    """

    page: str
    number: int
    commands: tuple[Command, ...]

    @property
    def place(self) -> tuple[str, int]:
        return self.page, self.number


def read_blocks(page: str) -> list[Block]:
    """The blocks of a page that hold commands."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = [
        list(_read_console(fenced) if language == "console" else _read_plain(fenced or indented))
        for language, fenced, indented in _BLOCK.findall(text)
        if language in ("", "console")
    ]
    return [
        Block(page=page, number=number, commands=tuple(commands))
        for number, commands in enumerate(filter(None, found), start=1)
    ]


def _read_console(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield _parse(command, is_refused=output.startswith("error:"))


def _read_plain(text: str) -> Iterator[Command]:
    for line in map(str.strip, text.splitlines()):
        if _PROGRAM.match(line) and _SYNOPSIS not in line:
            yield _parse(line)


def _parse(line: str, *, is_refused: bool = False) -> Command:
    remark = _REMARK.search(line)
    conflicts = remark is not None and "CONFLICT" in remark[0]
    return Command(text=_REMARK.sub("", line), is_refused=is_refused or conflicts)
