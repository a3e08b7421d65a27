"""What an evaluation does not show: sentences that follow from its own figures."""

from rlaif_dagster.evaluation.source_plots import SOURCE_WORDS
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.generation.responses import MOST_CUT

_FEW_PROMPTS = 30
_STEADY = 0.9
_SMALL_CHANGE = 0.1


def list_limits(metrics: EvaluationMetrics) -> tuple[str, ...]:
    """Lists the known limits of an evaluation, the general ones first."""
    limits = [
        "The intervals cover the choice of prompts only. One policy was trained once, from one seed: "
        "another training run could do better or worse.",
        "The held-out prompts come from the same source as the training prompts; "
        "results on other prompts may differ.",
    ]
    if metrics.win_rate_judge is not None:
        limits.append(
            "If the judge that graded these answers also labelled the training data, its win rate is "
            "optimistic: the policy was trained to please it."
        )
    limits += _list_missing(metrics)
    limits += _list_weak(metrics)
    return tuple(limits)


def _list_missing(metrics: EvaluationMetrics) -> list[str]:
    limits = []
    if metrics.win_rate_ground_truth is None:
        limits.append("There is no ground truth for these prompts: nothing here checks the judge itself.")
    else:
        limits.append(
            "The ground truth is that of a generated world: the results say nothing about natural prompts."
        )
    if metrics.kl is None:
        limits.append("The KL divergence from the base policy was not measured.")
    if metrics.reward_model_accuracy is None:
        limits.append("The reward model's accuracy on held-out pairs was not measured.")
    if metrics.num_unjudged:
        limits.append(
            f"The judge gave no usable verdict on {metrics.num_unjudged} of {metrics.num_comparisons} "
            "comparisons. They are left out of the judge's figures; if they are the hard ones, these are biased."
        )
    return limits


def _list_weak(metrics: EvaluationMetrics) -> list[str]:
    limits = []
    limits += [
        f"The judge gives a higher win rate than {SOURCE_WORDS[gap.reference]} on the same comparisons: the policy has "
        "learned to please the judge."
        for gap in metrics.judge_gaps
        if gap.win_rate_difference.is_above(0.0)
    ]
    limits += [
        f"Measured by {SOURCE_WORDS[curve.scorer]}, the policy exploited the reward model at these training steps: "
        f"{', '.join(map(str, curve.apart))}. There the reward is higher than at step {curve.best_step}, but the win "
        f"rate is lower. The policy that was kept is that of step {curve.kept.step}."
        for curve in metrics.along_training
        if curve.apart
    ]
    if metrics.num_prompts < _FEW_PROMPTS:
        limits.append(f"There are only {metrics.num_prompts} held-out prompts: the intervals are rough.")
    consistency = metrics.order_consistency
    if consistency is not None and consistency.value < _STEADY:
        limits.append(
            f"The judge prefers the same answer in both orders on only {100 * consistency.value:.0f} % of "
            "comparisons; averaging the orders cancels the bias, not the noise."
        )
    accuracy, baseline = metrics.reward_model_accuracy, metrics.longer_wins_accuracy
    if accuracy is not None and baseline is not None and not accuracy.is_above(baseline.value):
        limits.append(
            "The reward model is not significantly better than the rule that the longer answer wins."
        )
    limits += [
        f"{100 * share.value:.0f} % of the {policy} policy's answers were cut at evaluation.max_new_tokens, before "
        "the policy ended its turn. No figure shows how they would have ended."
        for policy, share in (("base", metrics.base_cut), ("aligned", metrics.aligned_cut))
        if share is not None and share.value > MOST_CUT
    ]
    base, change = metrics.base_tokens, metrics.token_difference
    if base is not None and change is not None and abs(change.value) > _SMALL_CHANGE * base.value:
        limits.append(
            f"Answers became {'longer' if change.value > 0 else 'shorter'} by {abs(change.value):.1f} tokens "
            "on average. Compare the win rates with those at equal length."
        )
    return limits
