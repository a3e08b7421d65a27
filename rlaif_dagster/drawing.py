"""The style of plots, and how they are written: SVG for pages, PNG for Dagster.

The same numbers give the same bytes. Colours are Okabe and Ito's (safe for colour-blind readers); in SVG each is a CSS
variable with that colour as fallback, so that a page can restyle it for dark mode. matplotlib is imported when a figure
is drawn.
"""

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALIGNED = "#0072b2"
BASE = "#d55e00"
DRIFT = "#009e73"
GROUND_TRUTH = "#e69f00"
INK = "#24292f"
MUTED = "#6e7781"
GRID = "#d8dee4"
PAPER = "#ffffff"
_CSS_NAMES = {
    ALIGNED: "aligned",
    BASE: "base",
    DRIFT: "drift",
    GROUND_TRUTH: "ground-truth",
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
}
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "rlaif",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.dpi": 72,
    "savefig.dpi": 144,
}
_WIDTH = 7.2
_LONGEST_NAME = 34


def to_svg(figure: "Figure", *, key: str) -> str:
    """Writes a figure as one `<svg>` element for use inside a page.

    Args:
        figure: The figure.
        key: Prefix of every id in the element, different for each figure of a page.
    """
    text = _save(
        figure, file_format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = text.decode()
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'href="#', f'href="#{key}-', svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    return re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})\b", _as_css_variable, svg)


def to_png(figure: "Figure") -> bytes:
    """Writes a figure as PNG on white paper."""
    return _save(figure, file_format="png", metadata={"Software": None}, facecolor=PAPER, transparent=False)


def to_markdown_image(figure: "Figure", *, alt: str) -> str:
    """Writes a figure as a Markdown image with embedded data, for Dagster metadata."""
    caption = re.sub(r"[\[\]\n]", " ", alt)
    return f"![{caption}](data:image/png;base64,{base64.b64encode(to_png(figure)).decode()})"


@contextmanager
def house_style() -> Iterator[None]:
    """Draws in this module's style, regardless of the machine's matplotlib settings."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # Names may be in any script; the browser has the glyphs that the bundled font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(*, height: float, num_panels: int = 1) -> "tuple[Figure, tuple[Any, ...]]":
    """Makes a figure of the standard width, with its panels from top to bottom; heights in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    grid = figure.subplots(num_panels, 1, sharex=True, squeeze=False)
    return figure, tuple(grid[:, 0])


def _save(figure: "Figure", *, file_format: str, metadata: dict[str, None], **options: Any) -> bytes:
    stream = io.BytesIO()
    options.setdefault("transparent", True)
    with house_style():
        figure.savefig(stream, format=file_format, metadata=metadata, **options)
    return stream.getvalue()


def put_legend_above(axes: "Axes") -> None:
    """Puts the legend, if there is one, above the axes."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)


def _as_css_variable(match: re.Match[str]) -> str:
    name = _CSS_NAMES.get(match[2])
    return match[0] if name is None else f"{match[1]}: var(--plot-{name}, {match[2]})"


def shorten(name: str) -> str:
    """Shortens a name that is too long for a row."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
