"""What a command of `rlaif` says of itself, and the options that many have."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Section(Enum):
    """The parts of `rlaif --help`, in their order."""

    EVERYDAY = "Everyday"
    RELEASES = "Releases"
    HISTORY = "History"
    STORAGE = "Storage and sharing"
    JUDGE = "The judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command; its module in `cli.commands` names it `COMMAND`.

    Attributes:
        function: Its arguments and options are those of the command, and its docstring is the help.
        section: Where `rlaif --help` lists it.
        keeps_work: Whether what was finished is kept when it is stopped, so that the same command goes on from there.
        ignores_unknown_options: Whether an argument may begin with a hyphen.
    """

    function: Callable[..., Any]
    section: Section
    keeps_work: bool = False
    ignores_unknown_options: bool = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return self.function.__name__.replace("_", "-")

    @property
    def place(self) -> tuple[int, str]:
        """Its place in `rlaif --help`: by section, then by name."""
        return list(Section).index(self.section), self.name

    def register(self, app: typer.Typer) -> None:
        """Adds it to `rlaif`."""
        settings = {"ignore_unknown_options": True} if self.ignores_unknown_options else None
        app.command(self.name, rich_help_panel=self.section.value, context_settings=settings)(self.function)


class Invocation:
    """What `main` has to know of a command that failed.

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
        raise typer.BadParameter("the reason is empty: say why, for whoever reads the record in a year")
    return text


ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.", callback=_require_reason)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, as the last line.")]
RemoteOption = Annotated[
    bool, typer.Option("--remote", help="May read from the DVC remote what is missing here.")
]
ReleaseArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RELEASE]",
        help="Its number, or the first digits of its digest; the one that stands if none.",
    ),
]
