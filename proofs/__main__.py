"""Runs parts, prints the table of each, and keeps it in docs/proofs.md with the date and the commit.

python -m proofs              # every part, one after the other: hours
python -m proofs kills        # one part
"""

import argparse
import datetime
import importlib
import pkgutil
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import proofs

REPOSITORY: Final = Path(__file__).parent.parent
PAGE: Final = REPOSITORY / "docs" / "proofs.md"


class Part(Protocol):
    """A module of this package that proves something."""

    SMALL_TEST: str

    def prove(self) -> list[dict[str, str]]:
        """Does the work; returns the rows of the table."""


def list_parts() -> list[str]:
    """Names the parts, in alphabetical order."""
    return sorted(
        module.name for module in pkgutil.iter_modules(proofs.__path__) if module.name != "__main__"
    )


def load_part(name: str) -> Part:
    """Imports a part."""
    return cast("Part", importlib.import_module(f"proofs.{name}"))


def format_table(rows: Sequence[dict[str, str]]) -> str:
    """Formats rows with the same columns as a Markdown table.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("a proof needs at least one row")
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_section(page: str, name: str, section: str) -> str:
    """Puts a part's section in the place of its earlier one, or at the end of the page."""
    marked = f"<!-- part: {name} -->\n{section}\n<!-- end -->\n"
    pattern = re.compile(rf"<!-- part: {re.escape(name)} -->\n.*?<!-- end -->\n", re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: marked, page)
    return f"{page.rstrip()}\n\n{marked}"


def describe_commit() -> str:
    """The commit that is proved; `+ changes` where tracked files differ from it."""

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = ask("status", "--porcelain", "--untracked-files=no", "--", ":!docs/proofs.md")
    return f"`{ask('rev-parse', '--short=10', 'HEAD')}`{' + changes' if changed else ''}"


def run_part(name: str) -> str:
    """Runs a part and keeps its table; returns the section as it stands in docs/proofs.md."""
    part = load_part(name)
    commit = describe_commit()
    started = time.monotonic()
    rows = part.prove()
    minutes = (time.monotonic() - started) / 60
    title = (part.__doc__ or name).split("\n", maxsplit=1)[0]
    today = datetime.datetime.now(datetime.UTC).date()
    section = (
        f"## {name}\n\n{title}\n\n{format_table(rows)}\n\n"
        f"{today}, commit {commit}, {minutes:.0f} minutes. Smallest size in `make test`: `{part.SMALL_TEST}`."
    )
    PAGE.write_text(replace_section(PAGE.read_text(), name, section))
    return section


def main() -> None:
    """Runs the parts that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(list_parts())}")
    parts = parser.parse_args().parts or list_parts()
    unknown = sorted(set(parts) - set(list_parts()))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: name one of {', '.join(list_parts())}")
    for name in parts:
        print(run_part(name), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
