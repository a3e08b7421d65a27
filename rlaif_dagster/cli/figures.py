"""Prints the figures that show how good a policy is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlaif_dagster.digest import Digest
from rlaif_dagster.lineage.drift import Drift
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.names import EVALUATION, REPORT_HTML, REWARD_MODEL

FIGURES: Final = {
    REWARD_MODEL: {
        "accuracy": "reward model: held-out accuracy",
        "longer_wins_accuracy": "  baseline: the longer answer wins",
    },
    EVALUATION: {
        "win_rate_ground_truth": "win rate against base, by the ground truth",
        "length_controlled_ground_truth": "  by the ground truth, lengths held equal",
        "win_rate_independent_judge": "win rate against base, by the independent judge",
        "length_controlled_independent_judge": "  by the independent judge, lengths held equal",
        "win_rate_judge": "win rate against base, by the judge",
        "length_controlled_judge": "  by the judge, lengths held equal",
        "win_rate_reward_model": "win rate against base, by the reward model",
        "order_consistency": "judge: same verdict in both orders",
        "kl": "KL from base, nats per answer",
        "base_tokens": "tokens per answer, base",
        "aligned_tokens": "tokens per answer, aligned",
        "base_clean": "clean answers, base",
        "aligned_clean": "clean answers, aligned",
    },
}
"""What is shown, by asset (of any round) and metric. The evaluation report has the other figures."""


def show_figures(console: Console, project: Project, heads: Mapping[str, MaterialisationRecord]) -> None:
    """Prints the figures of the reward model and the evaluation, and the checks that failed."""
    table = Table(title="Held-out prompts")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("interval", justify="right")
    for asset, record in heads.items():
        number, _, role = asset.rpartition("/")
        for name, label in FIGURES.get(role, {}).items():
            if record.figures.get(name) is not None:
                words = f"{number.replace('_', ' ')}: {label.strip()}" if number else label
                table.add_row(words, *_describe(record.figures[name]))
    if table.row_count:
        console.print(table)
    for asset, record in heads.items():
        for check in record.checks:
            if not check.passed:
                weight = "blocking check" if check.blocking else "check"
                console.print(f"[red]failed {weight}[/] {asset}: {check.name} {escape(str(check.facts))}")
        for override in record.overrides:
            words = (
                f"{asset} is built on {override.asset} although {override.check} failed: {override.reason}"
            )
            console.print(f"[yellow]overridden[/] {escape(words)}", soft_wrap=True, highlight=False)
        if "stopped" in record.metrics and not record.is_stopped:
            words = f"{asset}: {record.metrics['stopped']}"
            console.print(f"[yellow]stopped[/] {escape(words)}", soft_wrap=True, highlight=False)
        if record.reason is not None:
            console.print(
                f"[yellow]held[/] {asset}: {escape(record.reason)}", soft_wrap=True, highlight=False
            )
    for asset, record in heads.items():
        report = project.root / "data" / asset / REPORT_HTML
        if any(file.path == REPORT_HTML for file in record.output.files) and report.is_file():
            console.print(f"Report: {report}", soft_wrap=True)


def show_drifts(
    console: Console, drifts: Sequence[Drift], heads: Mapping[str, MaterialisationRecord]
) -> None:
    """Prints which judges have changed, and which newest versions depend on their verdicts."""
    for drift in drifts:
        if marked := drift.list_heads(heads):
            since = "never" if drift.last_good_at is None else f"{drift.last_good_at:%Y-%m-%d %H:%M}"
            versions = ", ".join(f"{asset}@{Digest.parse(digest).short}" for asset, digest in marked.items())
            words = (
                f"{', '.join(drift.names)} no longer answers as before (canary of {drift.found_at:%Y-%m-%d %H:%M} "
                f"UTC, last the same: {since}); in doubt: {versions}"
            )
            console.print(f"[red]judge changed[/] {escape(words)}", soft_wrap=True, highlight=False)


def _describe(estimate: Mapping[str, Any]) -> tuple[str, str]:
    interval = "" if estimate["low"] is None else f"{estimate['low']:.3f} to {estimate['high']:.3f}"
    return f"{estimate['value']:.3f}", interval
