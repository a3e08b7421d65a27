"""Draws the plots of training and evaluation; `drawing` writes them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rlaif_dagster.drawing import (
    ALIGNED,
    BASE,
    DRIFT,
    GROUND_TRUTH,
    INK,
    MUTED,
    PAPER,
    house_style,
    new_figure,
    put_legend_above,
    shorten,
)
from rlaif_dagster.evaluation.facts import CheckpointPoint, Curve
from rlaif_dagster.evaluation.groups import GroupWinRate
from rlaif_dagster.stats.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_SERIES_STYLES = ((ALIGNED, "-"), (BASE, "--"), (DRIFT, "-."), (MUTED, ":"))
_MAX_BINS = 24


def draw_loss_curves(curves: Sequence[Curve], *, ylabel: str, chance: float | None = None) -> "Figure":
    """Draws one or more series over training steps.

    Args:
        curves: The series; each with its own colour and dash.
        ylabel: What is measured, with its unit.
        chance: The loss of an untrained model (ln 2 for a pairwise loss), drawn as a dotted line.
    """
    with house_style():
        figure, (axes,) = new_figure(height=2.7)
        for curve, (colour, dash) in zip(curves, _cycle_styles(len(curves)), strict=True):
            steps = [point.step for point in curve.points]
            values = [point.value for point in curve.points]
            marker = "o" if len(steps) < _MAX_BINS else ""
            axes.plot(
                steps, values, color=colour, linestyle=dash, marker=marker, markersize=3.5, label=curve.label
            )
        if chance is not None:
            axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2, label="untrained model")
        axes.set_xlabel("training step")
        axes.set_ylabel(ylabel)
        put_legend_above(axes)
    return figure


def draw_margins(margins: Sequence[float]) -> "Figure":
    """Draws the histogram of reward margins, r(chosen) - r(rejected), split at 0."""
    with house_style():
        figure, (axes,) = new_figure(height=2.7)
        edges = _bin_edges(margins, through=0.0)
        num_right = sum(margin > 0 for margin in margins)
        for label, colour, part in (
            (f"ordered as labelled ({num_right})", ALIGNED, [m for m in margins if m > 0]),
            (
                f"ordered the other way or tied ({len(margins) - num_right})",
                BASE,
                [m for m in margins if m <= 0],
            ),
        ):
            axes.hist(part, bins=edges, color=colour, edgecolor=PAPER, linewidth=0.8, label=label)
        axes.axvline(0.0, color=INK, linewidth=1.0)
        axes.set_xlabel("reward of the chosen answer minus reward of the rejected one")
        axes.set_ylabel("held-out pairs")
        axes.grid(axis="x", visible=False)
        put_legend_above(axes)
    return figure


def draw_win_rates(groups: Sequence[GroupWinRate], *, confidence: float) -> "Figure":
    """Draws win rates by the judges and by the ground truth, one row per group, with intervals and the 50 % line.

    A group without figures keeps its row, marked "not measured".
    """
    sources: tuple[tuple[Literal["judge", "independent_judge", "ground_truth"], str, str], ...] = (
        ("judge", "by the judge", ALIGNED),
        ("independent_judge", "by the independent judge", DRIFT),
        ("ground_truth", "by the ground truth", GROUND_TRUTH),
    )
    shown = [s for s in sources if any(getattr(group, s[0]) is not None for group in groups)]
    thickness = 0.72 / max(len(shown), 1)
    with house_style():
        figure, (axes,) = new_figure(height=1.25 + 0.27 * len(groups) * max(len(shown), 1.4))
        for rank, (source, label, colour) in enumerate(shown):
            rows = [
                (place + (rank - (len(shown) - 1) / 2) * thickness, estimate)
                for place, group in enumerate(groups)
                if (estimate := getattr(group, source)) is not None
            ]
            _draw_bars(axes, rows, thickness=thickness, colour=colour, label=label)
        for place, group in enumerate(groups):
            if all(getattr(group, source) is None for source, _, _ in sources):
                axes.text(2, place, "not measured", va="center", color=MUTED, style="italic")
        axes.axvline(50, color=INK, linewidth=1.1, linestyle="--")
        axes.set_xlim(0, 100)
        axes.set_xticks(range(0, 101, 10))
        axes.set_ylim(len(groups) - 0.45, -0.55)
        axes.set_yticks(range(len(groups)), [shorten(group.name) for group in groups])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(
            f"win rate of the aligned policy in %   (dashed: even; whiskers: {100 * confidence:g} % interval)"
        )
        axes.grid(axis="y", visible=False)
        put_legend_above(axes)
    return figure


def draw_lengths(base: Sequence[int], aligned: Sequence[int], *, unit: str = "tokens") -> "Figure":
    """Draws how long the answers of both policies are, with their means."""
    with house_style():
        figure, (axes,) = new_figure(height=2.7)
        edges = _whole_edges([*base, *aligned])
        for label, colour, dash, lengths in (("base", BASE, "--", base), ("aligned", ALIGNED, "-", aligned)):
            if not lengths:
                continue
            weights = [100.0 / len(lengths)] * len(lengths)
            axes.hist(lengths, bins=edges, weights=weights, color=colour, alpha=0.25)
            mean = math.fsum(lengths) / len(lengths)
            axes.hist(
                lengths,
                bins=edges,
                weights=weights,
                histtype="step",
                color=colour,
                linestyle=dash,
                linewidth=1.6,
                label=f"{label}, mean {mean:.1f}",
            )
            axes.axvline(mean, color=colour, linestyle=dash, linewidth=1.2)
        axes.set_xlabel(f"length of the answer in {unit}")
        axes.set_ylabel("share of answers in %")
        axes.grid(axis="x", visible=False)
        put_legend_above(axes)
    return figure


def draw_checkpoints(checkpoints: Sequence[CheckpointPoint]) -> "Figure":
    """Draws mean reward, and KL if measured, over training steps; the chosen checkpoint is ringed."""
    with_kl = [point for point in checkpoints if point.kl is not None]
    with house_style():
        figure, panels = new_figure(height=2.7 if not with_kl else 4.4, num_panels=2 if with_kl else 1)
        series: list[tuple[Any, str, str, list[tuple[int, float, bool]]]] = [
            (
                panels[0],
                "mean reward",
                ALIGNED,
                [(point.step, point.mean_reward, point.selected) for point in checkpoints],
            )
        ]
        if with_kl:
            points = [(point.step, point.kl, point.selected) for point in with_kl if point.kl is not None]
            series.append((panels[1], "KL from base\n(nats per answer)", DRIFT, points))
        for axes, ylabel, colour, points in series:
            axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, marker="o", markersize=4)
            taken = [(step, value) for step, value, selected in points if selected]
            if taken:
                axes.plot(
                    *zip(*taken, strict=True),
                    color=INK,
                    marker="o",
                    markersize=10,
                    markerfacecolor="none",
                    linestyle="none",
                    label="chosen checkpoint",
                )
            axes.set_ylabel(ylabel)
        panels[-1].set_xlabel("training step")
        put_legend_above(panels[0])
    return figure


def _draw_bars(
    axes: "Axes", rows: Sequence[tuple[float, Estimate]], *, thickness: float, colour: str, label: str
) -> None:
    places = [place for place, _ in rows]
    values = [100 * estimate.value for _, estimate in rows]
    axes.barh(places, values, height=thickness * 0.9, color=colour, alpha=0.8, label=label)
    for place, estimate in rows:
        if estimate.low is not None and estimate.high is not None:
            whisker = [100 * estimate.low, 100 * estimate.high]
            axes.plot(whisker, [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.plot(whisker, [place, place], color=INK, marker="|", markersize=6, linestyle="none")


def _cycle_styles(count: int) -> list[tuple[str, str]]:
    return [_SERIES_STYLES[index % len(_SERIES_STYLES)] for index in range(count)]


def _bin_edges(values: Sequence[float], *, through: float) -> list[float]:
    """Returns equal bins that cover the values, with one edge exactly at `through`."""
    low, high = min([*values, through]), max([*values, through])
    width = (high - low) / _MAX_BINS or 1.0
    first, last = math.floor((low - through) / width), math.ceil((high - through) / width)
    return [through + index * width for index in range(first, max(last, first + 1) + 1)]


def _whole_edges(values: Sequence[int]) -> list[float]:
    """Returns equal bins of whole width, at half-integers, that cover the values."""
    low, high = min(values, default=0), max(values, default=0)
    width = math.ceil((high - low + 1) / _MAX_BINS)
    edges = [low - 0.5]
    while edges[-1] < high:
        edges.append(edges[-1] + width)
    return edges
