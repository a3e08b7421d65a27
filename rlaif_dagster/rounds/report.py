"""Renders the page about the rounds, for people who do not read JSON. It loads and runs nothing, and has no times."""

from collections.abc import Mapping, Sequence
from typing import Any

from rlaif_dagster.pages import open_pages


def render_rounds(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Renders the page.

    Args:
        rounds: For each round `round`, `signals` (from `Signal.to_json`) and `reasons` to stop.
    """
    environment = open_pages("rlaif_dagster.rounds")
    return environment.get_template("report.html.jinja").render(rounds=rounds)
