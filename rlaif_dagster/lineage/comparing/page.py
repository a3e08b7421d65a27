"""A comparison as one self-contained HTML page: it loads nothing, runs no script, and escapes all text."""

from rlaif_dagster.lineage.comparing.diff import ProjectDiff
from rlaif_dagster.pages import open_pages


def render_diff(diff: ProjectDiff) -> str:
    """Renders the page."""
    environment = open_pages("rlaif_dagster.lineage.comparing")
    return environment.get_template("diff.html.jinja").render(diff=diff)
