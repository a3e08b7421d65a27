"""The page that tells of the rounds, for people who do not read JSON. It loads nothing, runs nothing, holds no time."""

from collections.abc import Mapping, Sequence
from typing import Any


def render_rounds(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Renders the page.

    Args:
        rounds: Of each round `round`, `signals` (as `Signal.to_json` gives them) and `reasons` to stop.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rlaif_dagster.rounds", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(rounds=rounds)
