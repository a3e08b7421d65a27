"""The `rlaif` command."""

import os
import sys
from typing import Final, NoReturn

import typer

from rlaif_dagster.cli.command import Command, Invocation
from rlaif_dagster.cli.stopping import StoppableCommands
from rlaif_dagster.errors import RlaifError
from rlaif_dagster.registry import collect

EXIT_ERROR = 2
"""Exit code when something is wrong that the user can fix; nothing was changed."""
EXIT_UNEXPECTED = 1
"""Exit code of an unexpected error."""

COMMANDS: Final[list[Command]] = sorted(
    collect("rlaif_dagster.cli.commands", "COMMAND"), key=lambda command: command.place
)


class Commands(StoppableCommands):
    """The commands of `rlaif`."""

    keeping = frozenset(command.name for command in COMMANDS if command.keeps_work)


app = typer.Typer(
    name="rlaif",
    cls=Commands,
    help="Reinforcement learning from AI feedback that can be rebuilt and audited.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in COMMANDS:
    _command.register(app)


def main() -> None:
    """Runs the command. An error becomes a message and an exit code, never a traceback."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    invocation = Invocation()
    try:
        app(obj=invocation)
    except RlaifError as error:
        _fail(f"error: {error}", EXIT_ERROR)
    except Exception as error:  # the one place where any error becomes a line and a log
        from rlaif_dagster.cli.unexpected import DEBUG_VARIABLE, find_own_error, report_unexpected

        if os.environ.get(DEBUG_VARIABLE):
            raise
        if own := find_own_error(error):
            _fail(f"error: {own}", EXIT_ERROR)
        _fail(report_unexpected(error, invocation.project), EXIT_UNEXPECTED)


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201 - the command's own error stream
    sys.exit(code)


if __name__ == "__main__":
    main()
