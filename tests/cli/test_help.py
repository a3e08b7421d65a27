"""`rlaif --help` lists every command by its section, in a stable order, and is there at once."""

import re

from typer.testing import CliRunner

from rlaif_dagster.cli.command import Section
from rlaif_dagster.cli.main import COMMANDS, app
from tests.test_layers import PACKAGE


def test_every_module_of_commands_is_a_command() -> None:
    modules = {path.stem.replace("_", "-") for path in (PACKAGE / "cli" / "commands").glob("*.py")}
    assert {command.name for command in COMMANDS} == modules - {"--init--"}


def test_help_lists_commands_by_section_and_then_by_name() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    sections = re.findall(r"^╭─ (.*?) ─+╮$", text, re.MULTILINE)
    assert sections == ["Options", *(section.value for section in Section)]
    listed = re.findall(r"^│ ([a-z][a-z-]*)  ", text, re.MULTILINE)
    assert listed == [
        name
        for section in Section
        for name in sorted(command.name for command in COMMANDS if command.section is section)
    ]
    assert {"run", "plan", "status"} <= set(listed[: listed.index("override")])
