"""What the lines of `benchmarks.methods` say: a table, soft labels beside hard ones, wins over KL divergence."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from rlaif_dagster import drawing
from rlaif_dagster.evaluation.length_control import control_length
from rlaif_dagster.stats.intervals import Estimate, clustered_mean, clustered_proportion

Results = Sequence[Mapping[str, Any]]
"""Lines of `results.jsonl`."""


def report(results: Results, plot: Path | None) -> None:
    """Prints what there is, and draws it into a file if one is named."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_name.setdefault(result["name"], []).append(result)
    console = Console(width=160)
    console.print(make_table(by_name))
    for line in compare_labels(by_name):
        console.print(line)
    if plot is not None:
        plot.write_bytes(draw(by_name))


def make_table(by_name: Mapping[str, Results]) -> Table:
    """One row a method, over its seeds.

    Intervals are clustered by prompt, which the seeds share: they do not cover another seed. That is what the least and
    the greatest figure of one seed are for.
    """
    table = Table(box=MARKDOWN)
    columns = (
        "method",
        "seeds",
        "ground_truth",
        "least, most",
        "at equal length",
        "KL (nats)",
        "tokens",
        "CPU s",
        "stopped",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for name, mine in by_name.items():
        rows = [row for result in mine for row in result["rows"]]
        clusters = [row["prompt_id"] for row in rows]
        controlled = control_length(
            [row["ground_truth"] for row in rows],
            [row["tokens"] - row["base_tokens"] for row in rows],
            clusters,
        )
        ground_truths = [find_ground_truth(result) for result in mine]
        table.add_row(
            name,
            str(len(mine)),
            show(clustered_proportion([row["ground_truth"] for row in rows], clusters)),
            f"{min(ground_truths):.3f}, {max(ground_truths):.3f}",
            show(controlled.win_rate) if controlled else "",
            show(clustered_mean([row["log_ratio"] for row in rows], clusters)),
            f"{statistics.fmean(row['tokens'] for row in rows):.1f} "
            f"({statistics.fmean(row['base_tokens'] for row in rows):.1f})",
            f"{statistics.fmean(result['seconds'] for result in mine):.0f}",
            str(sum(result["stopped"] is not None for result in mine)),
        )
    return table


def compare_labels(by_name: Mapping[str, Results]) -> Iterator[str]:
    """Ground-truth wins with soft labels minus those with hard ones, paired by seed, with a t interval over seeds."""
    for name, soft in by_name.items():
        if not name.endswith(" soft"):
            continue
        hard = {
            result["seed"]: find_ground_truth(result)
            for result in by_name.get(name.replace("soft", "hard"), ())
        }
        differences = [
            (find_ground_truth(result) - hard[result["seed"]], result["seed"])
            for result in soft
            if result["seed"] in hard
        ]
        if differences:
            values, seeds = zip(*differences, strict=True)
            yield f"{name} - hard: {show(clustered_mean(values, seeds))} over {len(seeds)} seeds"


def find_ground_truth(result: Mapping[str, Any]) -> float:
    """The ground-truth win rate of one line."""
    return statistics.fmean(row["ground_truth"] for row in result["rows"])


def draw(by_name: Mapping[str, Results]) -> bytes:
    """Ground-truth wins over KL: small points for seeds, a large one for their mean, best-of-n as a curve."""
    with drawing.house_style():
        figure, (axes,) = drawing.new_figure(height=4.0)
        curve = []
        for number, (name, mine) in enumerate(by_name.items()):
            points = [
                (
                    statistics.fmean(row["log_ratio"] for row in result["rows"]),
                    100 * find_ground_truth(result),
                )
                for result in mine
            ]
            kl, ground_truth = (statistics.fmean(values) for values in zip(*points, strict=True))
            n = name.removeprefix("best_of_")
            if n.isdecimal():
                curve.append((kl, ground_truth))
                axes.annotate(n, (kl, ground_truth), xytext=(0, -14), textcoords="offset points", ha="center")
            elif name != "base" and not name.startswith("noisy"):
                colour = f"C{number % 10}"
                axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=3.5, alpha=0.5)
                axes.plot(kl, ground_truth, "D", color=colour, markersize=8, label=name)
        if curve:
            axes.plot(
                *zip(*curve, strict=True), "s-", color=drawing.INK, markersize=4, label="best_of_n, by n"
            )
        axes.axhline(50.0, color=drawing.MUTED, linestyle=":", linewidth=1.2)
        axes.set_xlabel("KL from the base policy (nats per answer)")
        axes.set_ylabel("ground-truth win rate (%)")
        drawing.put_legend_above(axes)
    return drawing.to_png(figure)


def show(estimate: Estimate) -> str:
    """A value with its interval, if there is one."""
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
