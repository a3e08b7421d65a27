"""Draws the win rates by each source, and the gain from optimising the reward model."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.drawing import (
    ALIGNED,
    BASE,
    DRIFT,
    GROUND_TRUTH,
    INK,
    house_style,
    new_figure,
    put_legend_above,
)
from rlaif_dagster.evaluation.along_training import AlongTraining
from rlaif_dagster.evaluation.comparison import Source
from rlaif_dagster.evaluation.over_optimisation import OverOptimisation
from rlaif_dagster.evaluation.sources import SourceWinRate
from rlaif_dagster.judge_quality.plots import draw_estimates
from rlaif_dagster.stats.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE_WORDS: Final[dict[Source, str]] = {
    "judge": "the judge",
    "independent_judge": "the independent judge",
    "ground_truth": "the ground truth",
    "reward_model": "the reward model",
}


def draw_sources(sources: Sequence[SourceWinRate], *, confidence: float) -> "Figure":
    """Draws the win rate by each source, as measured and at equal length."""
    names = [(SOURCE_WORDS[found.source], found) for found in sources]
    return draw_estimates(
        [
            ("as measured", ALIGNED, [(name, asdict(found.win_rate)) for name, found in names]),
            (
                "at equal length",
                GROUND_TRUTH,
                [
                    (name, asdict(found.length_control.win_rate) if found.length_control else None)
                    for name, found in names
                ],
            ),
        ],
        xlabel="win rate of the aligned policy",
        line=0.5,
        confidence=confidence,
    )


def draw_over_optimisation(
    curve: OverOptimisation,
    *,
    kl: Estimate | None,
    aligned_reward: Estimate | None,
    aligned_win_rate: Estimate | None,
) -> "Figure":
    """Draws reward and win rate of best-of-n over its KL divergence, and the aligned policy.

    Args:
        curve: The curve.
        kl: KL divergence of the aligned policy from the base policy.
        aligned_reward: Its mean reward.
        aligned_win_rate: Its win rate over the base policy, by the curve's scorer.
    """
    with house_style():
        figure, panels = new_figure(height=4.8, num_panels=2)
        kls = [point.kl for point in curve.points]
        _draw_line(panels[0], kls, [point.reward for point in curve.points], colour=ALIGNED)
        _draw_line(panels[1], kls, [point.win_rate for point in curve.points], colour=GROUND_TRUTH)
        for axes, estimate in zip(panels, (aligned_reward, aligned_win_rate), strict=True):
            if kl is not None and estimate is not None:
                _draw_line(axes, [kl.value], [estimate], colour=BASE, label="the aligned policy")
        for point in curve.points:
            panels[1].annotate(
                f"{point.n}", (point.kl, point.win_rate.value), xytext=(4, 6), textcoords="offset points"
            )
        panels[0].set_ylabel("mean reward")
        panels[1].set_ylabel(f"win rate over base\nby {SOURCE_WORDS[curve.scorer]}")
        panels[1].axhline(0.5, color=INK, linewidth=1.1, linestyle="--")
        panels[1].set_xlabel("KL divergence from the base policy in nats per answer   (numbers: n)")
        put_legend_above(panels[0])
    return figure


def draw_along_training(curves: Sequence[AlongTraining]) -> "Figure":
    """Draws reward and win rates at the checkpoints of training over their KL divergence; the kept one is ringed.

    Args:
        curves: At least one, of the same checkpoints.
    """
    colours = {"ground_truth": GROUND_TRUTH, "independent_judge": DRIFT, "judge": ALIGNED}
    with house_style():
        figure, panels = new_figure(height=4.8, num_panels=2)
        _draw_checkpoints(
            panels[0],
            curves[0],
            [point.reward for point in curves[0].points],
            colour=BASE,
            label="the reward model",
        )
        for curve in curves:
            win_rates = [point.win_rate for point in curve.points]
            _draw_checkpoints(
                panels[1], curve, win_rates, colour=colours[curve.scorer], label=SOURCE_WORDS[curve.scorer]
            )
        for point in curves[0].points:
            panels[0].annotate(
                f"{point.step}",
                (point.kl.value, point.reward.value),
                xytext=(4, 6),
                textcoords="offset points",
            )
        panels[0].set_ylabel("mean reward")
        panels[1].set_ylabel("win rate over the\npolicy of step 0")
        panels[1].axhline(0.5, color=INK, linewidth=1.1, linestyle="--")
        panels[1].set_xlabel(
            "KL from the reference policy in nats per answer   (numbers: steps; ringed: kept)"
        )
        for axes in panels:
            put_legend_above(axes)
    return figure


def _draw_checkpoints(
    axes: Any, curve: AlongTraining, estimates: Sequence[Estimate], *, colour: str, label: str
) -> None:
    """Draws estimates at checkpoints in the order of training, and a ring around the kept one."""
    _draw_line(axes, [point.kl.value for point in curve.points], estimates, colour=colour, label=label)
    for point, estimate in zip(curve.points, estimates, strict=True):
        if point.kept:
            axes.plot(
                [point.kl.value],
                [estimate.value],
                color=INK,
                marker="o",
                markersize=10,
                markerfacecolor="none",
                linestyle="none",
            )


def _draw_line(
    axes: Any,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    *,
    colour: str,
    label: str = "best of n answers of the base policy",
) -> None:
    """Draws estimates as a line of points with whiskers."""
    axes.plot(
        places,
        [estimate.value for estimate in estimates],
        color=colour,
        marker="o",
        markersize=4.5,
        label=label,
    )
    for place, estimate in zip(places, estimates, strict=True):
        if estimate.low is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.3)
