"""A comparison as one self-contained HTML page: it loads nothing, runs no script, and escapes all that it shows."""

from rlaif_dagster.evaluation.report import show_hidden_characters
from rlaif_dagster.lineage.comparing.diff import ProjectDiff


def render_diff(diff: ProjectDiff) -> str:
    """Renders the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rlaif_dagster.lineage.comparing", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = show_hidden_characters
    return environment.get_template("diff.html.jinja").render(diff=diff)
