"""Laws of the plots."""

import base64
import xml.etree.ElementTree as ET  # of our own SVG only
from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest

from rlaif_dagster import drawing
from rlaif_dagster.evaluation import plots
from rlaif_dagster.evaluation.facts import CheckpointPoint
from rlaif_dagster.evaluation.groups import GroupWinRate
from rlaif_dagster.evaluation.source_plots import draw_along_training, draw_over_optimisation, draw_sources
from rlaif_dagster.evaluation.win_rate import summarise
from tests.evaluation.made_up import make_comparisons, make_curve, make_curves, make_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = make_curves()
METRICS = summarise(make_comparisons(num_prompts=12, with_independent=True))
RATE = METRICS.win_rate_judge
DRAWINGS: dict[str, Callable[[], "Figure"]] = {
    "loss": lambda: plots.draw_loss_curves(CURVES.reward_model_loss, ylabel="loss in nats", chance=0.693),
    "margins": lambda: plots.draw_margins(CURVES.reward_margins),
    "win_rates": lambda: plots.draw_win_rates(METRICS.by_category, confidence=0.95),
    "lengths": lambda: plots.draw_lengths([3, 5, 5, 9], [2, 2, 3, 4]),
    "checkpoints": lambda: plots.draw_checkpoints(CURVES.checkpoints),
    "sources": lambda: draw_sources(METRICS.by_source, confidence=0.95),
    "over_optimisation": lambda: draw_over_optimisation(
        make_curve(), kl=RATE, aligned_reward=RATE, aligned_win_rate=RATE
    ),
    "along_training": lambda: draw_along_training(make_training()),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_the_same_numbers_give_the_same_bytes_whatever_the_machine_has_set(
    draw: Callable[[], "Figure"],
) -> None:
    svg, png = drawing.to_svg(draw(), key="k"), drawing.to_png(draw())
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20.0, "svg.hashsalt": None}):
        assert drawing.to_svg(draw(), key="k") == svg
        assert drawing.to_png(draw()) == png


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_axes_are_labelled_and_ids_carry_the_key(draw: Callable[[], "Figure"]) -> None:
    figure = draw()
    assert figure.axes[-1].get_xlabel()
    assert all(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
    tree = ET.fromstring(drawing.to_svg(figure, key="plot-a"))  # noqa: S314
    ids = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert ids
    assert all(name.startswith("plot-a-") for name in ids)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.draw_margins([0.0]),
        lambda: plots.draw_margins([]),
        lambda: plots.draw_margins([1e-9, 5e8]),
        lambda: plots.draw_lengths([0], []),
        lambda: plots.draw_lengths([1], [100_000]),
        lambda: plots.draw_checkpoints([CheckpointPoint(step=0, mean_reward=0.0)]),
        lambda: draw_sources([], confidence=0.9),
        lambda: draw_over_optimisation(make_curve(), kl=None, aligned_reward=RATE, aligned_win_rate=None),
        lambda: plots.draw_win_rates(
            [GroupWinRate(name="x", judge=None, ground_truth=None)], confidence=0.95
        ),
    ],
)
def test_scant_data_still_draws(draw: Callable[[], "Figure"]) -> None:
    assert drawing.to_svg(draw(), key="k").startswith("<svg")


def test_names_are_drawn_as_text_in_any_script() -> None:
    rate = METRICS.win_rate_judge
    names = ['<script>alert("x")</script>', "$\\frac{", "安全 & 有用", "x" * 500]
    svg = drawing.to_svg(
        plots.draw_win_rates(
            [GroupWinRate(name=name, judge=rate, ground_truth=None) for name in names], confidence=0.95
        ),
        key="k",
    )
    texts = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert "<script" not in svg
    assert set(names[:3]) <= set(texts)
    assert "x" * 33 + "…" in texts


def test_a_markdown_image_holds_its_own_png() -> None:
    image = drawing.to_markdown_image(DRAWINGS["margins"](), alt="margins [of]\npairs")
    head, data = image.removesuffix(")").split(",", 1)
    assert head == "![margins  of  pairs](data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
