"""The page that tells of the rounds, for people who do not read JSON. It loads nothing, runs nothing, holds no time."""

from collections.abc import Mapping, Sequence
from typing import Any

from rlaif_dagster.pages import open_pages


def render_rounds(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Renders the page.

    Args:
        rounds: Of each round `round`, `signals` (as `Signal.to_json` gives them) and `reasons` to stop.
    """
    environment = open_pages("rlaif_dagster.rounds")
    return environment.get_template("report.html.jinja").render(rounds=rounds)
