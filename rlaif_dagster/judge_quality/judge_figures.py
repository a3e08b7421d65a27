"""The figures of one judge, with the definitions that the result and the docs repeat."""

from typing import Final

from rlaif_dagster.judge_quality.figure_definitions import Definition

JUDGE_FIGURES: Final[tuple[Definition, ...]] = (
    Definition(
        key="pairs",
        title="pairs",
        group="verdicts",
        definition="Different pairs.",
        counts="rows",
        interval="census",
        kind="count",
    ),
    Definition(
        key="unparsed",
        title="unparsed",
        group="verdicts",
        definition="Share of rows without a verdict, other than the refused and the failed.",
        counts="rows",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="refused",
        title="refused",
        group="verdicts",
        definition="Share of rows with the status `refused`; null if no row has a status.",
        counts="rows",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="failed",
        title="failed",
        group="verdicts",
        definition="Share of rows with the status `failed`; null if no row has a status.",
        counts="rows",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="tie_rate",
        title="ties",
        group="verdicts",
        definition="Share of verdicts that are a tie.",
        counts="verdicts",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="accuracy",
        title="accuracy",
        group="ground_truth",
        definition=(
            "Share of rows whose verdict is the ground-truth label (mean of the orders, if every pair was "
            "asked in both). A missing verdict counts as wrong; a tie is right if the ground truth is a tie."
        ),
        counts="rows with a ground truth",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="accuracy_parsed",
        title="accuracy, parsed",
        group="ground_truth",
        definition="The same among rows with a verdict.",
        counts="verdicts with a ground truth",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="both_correct",
        title="right in both orders",
        group="ground_truth",
        definition=(
            "Share of questions asked in both orders whose two verdicts are both the ground-truth label. A "
            "missing verdict counts as wrong."
        ),
        counts="questions with a ground truth",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="kappa_ground_truth",
        title="kappa with the ground truth",
        group="ground_truth",
        definition=(
            "Cohen's kappa of verdicts and the ground truth, both coded a, b, tie: the mean of the kappas of the "
            "orders. A missing verdict is its own label, so it agrees with nothing."
        ),
        counts="rows with a ground truth",
        interval="kappa",
        kind="number",
    ),
    Definition(
        key="macro_precision",
        title="macro precision",
        group="ground_truth",
        definition=(
            "Mean over the labels that occur (a, b, tie) of the share of verdicts with that label "
            "whose ground truth is that label; 0 for a label that no verdict has."
        ),
        counts="rows with a ground truth",
        interval="jackknife",
        kind="share",
    ),
    Definition(
        key="macro_recall",
        title="macro recall",
        group="ground_truth",
        definition=(
            "Mean over labels of the share of ground-truth labels that the verdict finds; 0 for a label that "
            "the ground truth"
            " never has."
        ),
        counts="rows with a ground truth",
        interval="jackknife",
        kind="share",
    ),
    Definition(
        key="macro_f1",
        title="macro F1",
        group="ground_truth",
        definition="Mean over labels of the harmonic mean of that label's precision and recall.",
        counts="rows with a ground truth",
        interval="jackknife",
        kind="share",
    ),
    Definition(
        key="ground_truth_a",
        title="the ground truth is a",
        group="ground_truth",
        definition="Pairs whose ground truth label is a.",
        counts="pairs with a ground truth",
        interval="census",
        kind="count",
    ),
    Definition(
        key="ground_truth_b",
        title="the ground truth is b",
        group="ground_truth",
        definition="Pairs whose ground truth label is b.",
        counts="pairs with a ground truth",
        interval="census",
        kind="count",
    ),
    Definition(
        key="ground_truth_tie",
        title="the ground truth is a tie",
        group="ground_truth",
        definition="Pairs whose ground truth label is a tie.",
        counts="pairs with a ground truth",
        interval="census",
        kind="count",
    ),
    Definition(
        key="order_agreement",
        title="order agreement",
        group="order",
        definition=(
            "Share of questions with a verdict in both orders whose verdicts prefer the same answer, or "
            "both a tie. Strict: questions that lack a verdict are excluded, and counted in "
            "`pairs_excluded`."
        ),
        counts="questions with both verdicts",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="order_agreement_all",
        title="order agreement, all",
        group="order",
        definition=(
            "The same among all questions asked in both orders: a missing verdict agrees with nothing."
        ),
        counts="questions asked in both orders",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="pairs_excluded",
        title="without a verdict",
        group="order",
        definition="Questions asked in both orders that lack a verdict in one or both.",
        counts="questions asked in both orders",
        interval="census",
        kind="count",
    ),
    Definition(
        key="kappa_orders",
        title="kappa of the orders",
        group="order",
        definition="Cohen's kappa of the verdict in one order and in the other, as a, b, tie.",
        counts="questions with both verdicts",
        interval="kappa",
        kind="number",
    ),
    Definition(
        key="first_first",
        title="first in both orders",
        group="order",
        definition="Questions in which the answer shown first won in both orders.",
        counts="questions with both verdicts",
        interval="count",
        kind="count",
    ),
    Definition(
        key="second_second",
        title="second in both orders",
        group="order",
        definition="Questions in which the answer shown second won in both orders.",
        counts="questions with both verdicts",
        interval="count",
        kind="count",
    ),
    Definition(
        key="tie_mixed",
        title="a tie in one order",
        group="order",
        definition="Questions with a tie in one order and a winner in the other.",
        counts="questions with both verdicts",
        interval="count",
        kind="count",
    ),
    Definition(
        key="flips_to_first",
        title="flips to the first",
        group="order",
        definition="`first_first` / (`first_first` + `second_second`); 50 % is no direction.",
        counts="flips",
        interval="exact",
        kind="share",
    ),
    Definition(
        key="position_p_value",
        title="p of no direction",
        group="order",
        definition=(
            "Two-sided exact sign test of `first_first` against `second_second` (McNemar's, exact); "
            "repeats are treated as independent."
        ),
        counts="flips",
        interval="none",
        kind="number",
    ),
    Definition(
        key="position_bias",
        title="position bias",
        group="order",
        definition=(
            "Mean of points of the first place in both orders, minus 1 (win 1, tie 0.5, loss 0), from -1 "
            "to 1. A judge that takes the first answer with probability x regardless of the answers, and "
            "otherwise judges them, has x."
        ),
        counts="questions with both verdicts",
        interval="t",
        kind="number",
    ),
    Definition(
        key="first_rate",
        title="first wins",
        group="order",
        definition="Share of decided verdicts (not a tie) for the answer shown first.",
        counts="decided verdicts",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="prefers_longer",
        title="prefers the longer",
        group="length",
        definition="Share of decided verdicts for the longer answer, if lengths differ.",
        counts="decided verdicts, lengths differ",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="prefers_longer_ground_truth_fixed",
        title="the same, ground truth fixed",
        group="length",
        definition=(
            "Mean of two shares: of decided verdicts for the longer answer if the ground truth is the longer one, "
            "and if it is the shorter one. 50 % is no preference by length, however accurate the judge is"
            " and whatever the ground truth prefers."
        ),
        counts="decided verdicts, ground truth decided, lengths differ",
        interval="mover",
        kind="share",
    ),
    Definition(
        key="longer_wins_accuracy",
        title="longer wins: accuracy",
        group="length",
        definition=(
            "Accuracy of the rule that the longer answer is better, if the ground truth is not a tie; equal lengths "
            "count one half."
        ),
        counts="pairs with lengths, ground truth decided",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="beats_longer_wins",
        title="over longer wins",
        group="length",
        definition=(
            "Mean of the judge's points minus the rule's on the same pairs (right 1, tie 0.5, wrong or "
            "missing 0), from -1 to 1."
        ),
        counts="rows with lengths, ground truth decided",
        interval="t",
        kind="number",
    ),
    Definition(
        key="own_share",
        title="own answers win",
        group="self",
        definition=(
            "Points of the judge's own answer against another's (win 1, tie 0.5), mean of the orders. "
            "Own: the source has the judge's name."
        ),
        counts="pairs with one own answer",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="self_preference_ground_truth",
        title="own over the ground truth",
        group="self",
        definition="Mean of those points minus the points that the ground truth gives the own answer, from -1 to 1.",
        counts="the same with a ground truth",
        interval="t",
        kind="number",
    ),
    Definition(
        key="self_preference_others",
        title="own over other judges",
        group="self",
        definition=(
            "Mean of those points minus the mean points that the other judges give the same answer, from "
            "-1 to 1."
        ),
        counts="the same with other judges",
        interval="t",
        kind="number",
    ),
    Definition(
        key="repeat_agreement",
        title="repeats agree",
        group="stability",
        definition=(
            "Share of two repeats of the same question in the same order whose verdicts are equal; the "
            "mean over questions."
        ),
        counts="questions in one order, 2 verdicts or more",
        interval="wilson",
        kind="share",
    ),
    Definition(
        key="repeat_alpha",
        title="alpha of repeats",
        group="stability",
        definition="Krippendorff's alpha of the repeats.",
        counts="questions in one order, 2 verdicts or more",
        interval="kappa",
        kind="number",
    ),
    Definition(
        key="ece",
        title="ECE",
        group="calibration",
        definition=(
            "Expected calibration error of the soft label's confidence max(p, 1 - p), p the mean of P(a "
            "is better) over the orders: 10 bins of equal width from 0.5 to 1. Above 0 by chance alone "
            "if there are few pairs."
        ),
        counts="pairs with `p_first`, ground truth decided",
        interval="jackknife",
        kind="number",
    ),
    Definition(
        key="brier",
        title="Brier score",
        group="calibration",
        definition="Mean squared difference of p and the ground truth (a is 1, b is 0); p = 0.5 gives 0.25.",
        counts="pairs with `p_first`, ground truth decided",
        interval="t",
        kind="number",
    ),
)
"""The figures of one judge, in the order in which they are shown."""
