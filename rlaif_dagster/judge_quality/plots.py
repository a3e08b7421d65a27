"""Draws the plots of a judge's audit."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.drawing import (
    ALIGNED,
    BASE,
    GROUND_TRUTH,
    INK,
    MUTED,
    house_style,
    new_figure,
    put_legend_above,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Estimated = Mapping[str, Any]
"""A figure of an audit: `value`, `n`, `low`, `high`."""
Series = tuple[str, str, Sequence[tuple[str, Estimated | None]]]
"""A series: its name, its colour, and a figure for each named row."""

JUDGE_PLOTS: Final = ("agreement", "position_bias", "length_preference", "calibration")
"""The names of an audit's plots."""

_MARKERS: Final = "osD^v"


def draw_judge_audit(audit: Mapping[str, Any]) -> "dict[str, Figure]":
    """Draws an audit (`judge_audit.json`): `JUDGE_PLOTS` by name."""
    return {
        "position_bias": draw_estimates(
            [("of the verdicts", ALIGNED, _list_rows(audit, "position_bias"))],
            xlabel="position bias: 1 always takes the answer shown first, -1 the second",
            line=0.0,
        ),
        "agreement": draw_estimates(
            [
                ("of both orders", ALIGNED, _list_rows(audit, "order_agreement")),
                ("with the ground truth", GROUND_TRUTH, _list_rows(audit, "accuracy")),
                ("with people", BASE, _list_rows(audit, "accuracy", section="human")),
            ],
            xlabel="share of agreement",
            line=0.5,
        ),
        "length_preference": draw_estimates(
            [
                ("as it is", ALIGNED, _list_rows(audit, "prefers_longer")),
                ("at equal quality", GROUND_TRUTH, _list_rows(audit, "prefers_longer_ground_truth_fixed")),
            ],
            xlabel="share of verdicts for the longer answer",
            line=0.5,
        ),
        "calibration": draw_calibration(
            {
                **{
                    f"{judge}, by ground truth": bins
                    for judge, bins in audit["labels"]["calibration"].items()
                },
                **{
                    f"{judge}, by people": bins
                    for judge, bins in ((audit["human"] or {}).get("calibration") or {}).items()
                },
            }
        ),
    }


def draw_estimates(
    series: Sequence[Series], *, xlabel: str, line: float, confidence: float = 0.95
) -> "Figure":
    """Draws figures with their intervals, one row per name; a row without figures is marked "not measured".

    Args:
        series: The series, all with the same rows in the same order.
        xlabel: What the figures are.
        line: The value of a judge without this fault, or of one that guesses.
        confidence: The confidence of the intervals.
    """
    names = list(dict.fromkeys(name for _, _, rows in series for name, _ in rows))
    shown = [
        (label, colour, {name: figure for name, figure in rows if figure and figure["value"] is not None})
        for label, colour, rows in series
    ]
    shown = [item for item in shown if item[2]]
    with house_style():
        figure, (axes,) = new_figure(height=1.25 + 0.3 * max(len(names), 1))
        for rank, (label, colour, known) in enumerate(shown):
            offset = 0.5 * (rank - (len(shown) - 1) / 2) / max(len(shown), 1)
            places = [names.index(name) + offset for name in known]
            for place, estimate in zip(places, known.values(), strict=True):
                if estimate["low"] is not None:
                    axes.plot(
                        [estimate["low"], estimate["high"]], [place, place], color=colour, linewidth=1.6
                    )
            values = [estimate["value"] for estimate in known.values()]
            axes.plot(
                values,
                places,
                color=colour,
                marker=_MARKERS[rank],
                markersize=5,
                linestyle="none",
                label=label,
            )
        for place, name in enumerate(names):
            if not any(name in known for _, _, known in shown):
                axes.text(line, place, " not measured", va="center", color=MUTED, style="italic")
        axes.axvline(line, color=INK, linewidth=1.1, linestyle="--")
        axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [shorten(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{xlabel}   (lines: {100 * confidence:g} % interval)")
        axes.grid(axis="y", visible=False)
        put_legend_above(axes)
    return figure


def draw_calibration(bins: Mapping[str, Sequence[Estimated]]) -> "Figure":
    """Draws how often labels of each confidence are right; on the dashed line they are calibrated.

    Args:
        bins: By judge; each bin a figure with its mean `confidence`.
    """
    known = {name: held for name, held in bins.items() if held}
    with house_style():
        figure, (axes,) = new_figure(height=3.2)
        axes.plot([0.5, 1.0], [0.5, 1.0], color=INK, linewidth=1.1, linestyle="--")
        colours = (ALIGNED, GROUND_TRUTH, BASE, MUTED)
        for rank, (name, held) in enumerate(known.items()):
            colour = colours[rank % len(colours)]
            for item in held:
                axes.plot([item["confidence"]] * 2, [item["low"], item["high"]], color=colour, linewidth=1.2)
            axes.plot(
                [item["confidence"] for item in held],
                [item["value"] for item in held],
                color=colour,
                marker=_MARKERS[rank % len(_MARKERS)],
                markersize=5,
                linestyle=":",
                label=f"{shorten(name)} ({sum(item['n'] for item in held)} labels)",
            )
        if not known:
            axes.text(
                0.75, 0.5, "not measured: no ground truth and no human labels", ha="center", color=MUTED
            )
        axes.set_xlim(0.49, 1.01)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("confidence of the label, max(p, 1 - p)")
        axes.set_ylabel("share that is right")
        put_legend_above(axes)
    return figure


def _list_rows(
    audit: Mapping[str, Any], figure: str, section: str = "verdicts"
) -> list[tuple[str, Estimated | None]]:
    """Lists a figure of each judge: of its labels, of all its verdicts, and of each principle."""
    judges = list(audit["verdicts"]["judges"])
    views: list[tuple[str, Mapping[str, Any]]] = [
        ("labels", audit["labels"]),
        ("all verdicts", audit["verdicts"]),
    ]
    views += [(name, audit["principles"][name]) for name in audit["principles"]]
    if section == "human":
        views = [("labels", audit["human"] or {"judges": {}})]
    return [
        (name if len(judges) == 1 else f"{judge}: {name}", (view["judges"].get(judge) or {}).get(figure))
        for judge in judges
        for name, view in views
    ]
