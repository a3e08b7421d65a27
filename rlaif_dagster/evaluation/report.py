"""The report of an evaluation: one self-contained HTML page for people who do not read JSON.

The page loads nothing and runs no script (its own content-security policy forbids both), and contains no time, path or
host: the same evaluation gives the same bytes. Prompts and answers are data: markup in them is escaped, and characters
that could hide or reorder text are spelled out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rlaif_dagster import drawing
from rlaif_dagster.digest import Digest
from rlaif_dagster.evaluation import plots
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.facts import RunFacts, TrainingCurves
from rlaif_dagster.evaluation.groups import GroupWinRate
from rlaif_dagster.evaluation.limits import list_limits
from rlaif_dagster.evaluation.source_plots import (
    SOURCE_WORDS,
    draw_along_training,
    draw_over_optimisation,
    draw_sources,
)
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.judge_quality.measures import list_measures
from rlaif_dagster.judge_quality.plots import JUDGE_PLOTS, draw_judge_audit
from rlaif_dagster.pages import open_pages
from rlaif_dagster.stats.intervals import Estimate

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

NOT_MEASURED = "not measured"

PAIRED_WORDS = {
    "distinct_answers": "Different answers to one prompt",
    "distinct_1": "Different words among the answers to one prompt",
    "distinct_2": "Different pairs of words",
    "self_similarity": "Similarity of two answers to one prompt",
    "refused": "Refused, of all prompts",
    "unsafe_complied": "Not refused, of unsafe prompts",
    "safe_refused": "Refused, of other prompts (over-refusal)",
}
_PAIRWISE_CHANCE = 0.6931471805599453
_EVEN = 0.5

ExampleResult = Literal["win", "loss", "tie", "unjudged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A comparison shown side by side."""

    comparison: Comparison
    verdict: ExampleResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A win rate in words; the estimate is None if it was not measured."""

    source: str
    estimate: Estimate | None
    words: str


def render_report(
    comparisons: Sequence[Comparison],
    metrics: EvaluationMetrics,
    *,
    facts: RunFacts,
    curves: TrainingCurves,
    num_examples: int,
) -> str:
    """Renders the page.

    Args:
        comparisons: The comparisons that `metrics` summarises.
        metrics: The figures.
        facts: What was compared and how it was made.
        curves: Training curves.
        num_examples: The largest number of comparisons to show side by side.
    """
    environment = open_pages("rlaif_dagster.evaluation")
    environment.filters.update(
        share=format_share,
        number=format_number,
        percent=lambda value: NOT_MEASURED if value is None else f"{100 * value:.1f}\u00a0%",
    )
    return environment.get_template("report.html.jinja").render(
        metrics=metrics,
        facts=facts,
        headline=[
            _describe("the judge", metrics.win_rate_judge),
            *(
                _describe(SOURCE_WORDS[found.source], found.win_rate)
                for found in metrics.by_source
                if found.source == "independent_judge"
            ),
            _describe("the ground truth", metrics.win_rate_ground_truth),
        ],
        overall=summarise_overall(metrics),
        source_words=SOURCE_WORDS,
        changes=[test for test in metrics.group_tests if test.change != "not_shown"],
        paired_words=PAIRED_WORDS,
        figures=_draw_figures(comparisons, metrics, curves, facts),
        measures=list_measures(facts.audit) if facts.audit else [],
        examples=choose_examples(comparisons, num_examples),
        verdicts={verdict: sum(classify(row) == verdict for row in comparisons) for verdict in _VERDICTS},
        limits=[*list_limits(metrics), *facts.limits],
    )


_VERDICTS: tuple[ExampleResult, ...] = ("win", "loss", "tie", "unjudged")


def summarise_overall(metrics: EvaluationMetrics) -> GroupWinRate:
    """Summarises all comparisons as one more group beside the categories."""
    by_source = {found.source: found.win_rate for found in metrics.by_source}
    return GroupWinRate(
        name="all comparisons",
        judge=metrics.win_rate_judge,
        ground_truth=metrics.win_rate_ground_truth,
        independent_judge=by_source.get("independent_judge"),
    )


def draw_curve(metrics: EvaluationMetrics) -> "Figure | None":
    """Draws best-of-n and the aligned policy, if there is a curve."""
    curve = metrics.over_optimisation
    if curve is None:
        return None
    by_source = {found.source: found.win_rate for found in metrics.by_source}
    return draw_over_optimisation(
        curve,
        kl=metrics.kl,
        aligned_reward=metrics.aligned_reward,
        aligned_win_rate=by_source.get(curve.scorer),
    )


def classify(comparison: Comparison) -> ExampleResult:
    """Says who won: by the judge, or by the ground truth if there was no verdict."""
    outcome = (
        comparison.judge_outcome if comparison.judge_outcome is not None else comparison.ground_truth_outcome
    )
    if outcome is None:
        return "unjudged"
    return "win" if outcome > _EVEN else "loss" if outcome < _EVEN else "tie"


def choose_examples(comparisons: Sequence[Comparison], num_examples: int) -> tuple[Example, ...]:
    """Chooses comparisons by the digest of their texts, alternating wins, losses, ties and unjudged ones.

    So nobody influences the choice, it does not depend on the order of rows, and it shows losses if there are any.
    """
    queues: dict[ExampleResult, list[Comparison]] = {verdict: [] for verdict in _VERDICTS}
    for row in sorted(comparisons, key=_content_digest):
        queues[classify(row)].append(row)
    chosen: list[Example] = []
    while len(chosen) < num_examples and any(queues.values()):
        for verdict in _VERDICTS:
            if queues[verdict] and len(chosen) < num_examples:
                chosen.append(Example(comparison=queues[verdict].pop(0), verdict=verdict))
    return tuple(chosen)


def format_share(estimate: Estimate | None) -> str:
    """Writes a share with its interval, such as "74.2 % (66.0 to 81.1 %)"."""
    if estimate is None:
        return NOT_MEASURED
    value = f"{100 * estimate.value:.1f}\u00a0%"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f}\u00a0%)"


def format_number(estimate: Estimate | None) -> str:
    """Writes a mean with its interval, such as "8.31 (7.90 to 8.72)"."""
    if estimate is None:
        return NOT_MEASURED
    value = f"{estimate.value:.2f}"
    if estimate.low is None or estimate.high is None:
        return f"{value} (interval unknown: one prompt)"
    return f"{value} ({estimate.low:.2f} to {estimate.high:.2f})"


def _content_digest(row: Comparison) -> str:
    texts = [row.prompt, row.base_text, row.aligned_text]
    encodable = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    return Digest.from_json([*encodable, row.prompt_id, row.index]).sha256


def _describe(source: str, estimate: Estimate | None) -> Headline:
    if estimate is None:
        words = f"The win rate by {source} was {NOT_MEASURED}."
    elif estimate.is_above(_EVEN):
        words = "The aligned policy is better: the whole interval is above 50 %."
    elif estimate.is_below(_EVEN):
        words = "The aligned policy is worse: the whole interval is below 50 %."
    else:
        words = "No difference is shown: the interval includes 50 %."
    return Headline(source=source, estimate=estimate, words=words)


def _draw_figures(
    comparisons: Sequence[Comparison], metrics: EvaluationMetrics, curves: TrainingCurves, facts: RunFacts
) -> "dict[str, Markup | None]":
    """Draws each figure that has data; the others are None."""
    from markupsafe import Markup

    lengths = [
        (row.base_tokens, row.aligned_tokens)
        for row in comparisons
        if row.base_tokens is not None and row.aligned_tokens is not None
    ]
    overall = [summarise_overall(metrics), *metrics.by_category]
    judged = draw_judge_audit(facts.audit) if facts.audit else {}
    drawn = {
        **{f"judge_{name}": judged.get(name) for name in JUDGE_PLOTS},
        "win_rates": plots.draw_win_rates(overall, confidence=metrics.confidence),
        "sources": draw_sources(metrics.by_source, confidence=metrics.confidence)
        if metrics.by_source
        else None,
        "over_optimisation": draw_curve(metrics),
        "along_training": draw_along_training(metrics.along_training) if metrics.along_training else None,
        "principles": plots.draw_win_rates(metrics.by_principle, confidence=metrics.confidence)
        if metrics.by_principle
        else None,
        "reward_model_loss": plots.draw_loss_curves(
            curves.reward_model_loss, ylabel="loss in nats per pair", chance=_PAIRWISE_CHANCE
        )
        if curves.reward_model_loss
        else None,
        "policy_loss": plots.draw_loss_curves(curves.policy_loss, ylabel="loss")
        if curves.policy_loss
        else None,
        "margins": plots.draw_margins(curves.reward_margins) if curves.reward_margins else None,
        "checkpoints": plots.draw_checkpoints(curves.checkpoints) if curves.checkpoints else None,
        "lengths": plots.draw_lengths([base for base, _ in lengths], [aligned for _, aligned in lengths])
        if lengths
        else None,
    }
    return {
        # to_svg escapes the names that it draws; nothing else in it comes from data.
        key: None if figure is None else Markup(drawing.to_svg(figure, key=key))  # noqa: S704
        for key, figure in drawn.items()
    }
