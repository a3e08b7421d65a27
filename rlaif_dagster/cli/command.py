"""What each command of `rlaif` declares, and the options that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Section(Enum):
    """The sections of `rlaif --help`, in order."""

    EVERYDAY = "Everyday"
    RELEASES = "Releases"
    HISTORY = "History"
    STORAGE = "Storage and sharing"
    JUDGE = "The judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command. Its module in `cli.commands` defines it as `COMMAND`.

    Attributes:
        function: Its parameters are the arguments and options of the command; its docstring is the help text.
        section: Where `rlaif --help` lists it.
        keeps_work: Whether a stopped command keeps finished work, so that the same command continues from there.
        ignores_unknown_options: Whether an argument may begin with a hyphen.
    """

    function: Callable[..., Any]
    section: Section
    keeps_work: bool = False
    ignores_unknown_options: bool = False

    @property
    def name(self) -> str:
        """The name as typed."""
        return self.function.__name__.replace("_", "-")

    @property
    def place(self) -> tuple[int, str]:
        """The position in `rlaif --help`: by section, then by name."""
        return list(Section).index(self.section), self.name

    def register(self, app: typer.Typer) -> None:
        """Adds the command to `rlaif`."""
        settings = {"ignore_unknown_options": True} if self.ignores_unknown_options else None
        app.command(self.name, rich_help_panel=self.section.value, context_settings=settings)(self.function)


class Invocation:
    """What `main` needs to know about a command that failed.

    Attributes:
        project: The project's folder.
    """

    def __init__(self) -> None:
        self.project = Path()


def _remember_project(context: typer.Context, project: Path) -> Path:
    if isinstance(context.obj, Invocation):
        context.obj.project = project
    return project


ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project",
        metavar="DIR",
        help="The project's folder.",
        show_default=True,
        callback=_remember_project,
    ),
]


def _require_reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter(
            "the reason is empty: write why, for the person who reads the record in a year"
        )
    return text


ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.", callback=_require_reason)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, as the last line.")]
RemoteOption = Annotated[
    bool, typer.Option("--remote", help="Allow reading from the DVC remote what is missing locally.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The file to write; default: print it.")
]
ReleaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RELEASE]",
        help="Its number, or the first digits of its digest; default: the current release.",
    ),
]
