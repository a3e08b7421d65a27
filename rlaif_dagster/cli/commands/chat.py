"""`rlaif chat`."""

from pathlib import Path
from typing import Annotated

import typer

from rlaif_dagster.cli.command import Command, ProjectOption, RemoteOption, Section


def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="One prompt; default: a conversation.")
    ] = None,
    project: ProjectOption = Path(),
    remote: RemoteOption = False,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=5.0, help="0 always takes the most likely token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The seed for a temperature above 0.")] = 0,
) -> None:
    """Talk to the base and the aligned policy side by side, and to the released one if it differs."""
    from rlaif_dagster.cli.chat import chat_command

    chat_command(
        project, " ".join(prompt) if prompt else None, remote=remote, temperature=temperature, seed=seed
    )


COMMAND = Command(function=chat, section=Section.EVERYDAY)
