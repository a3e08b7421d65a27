"""Combines verdicts into one soft label for each pair.

P(a preferred) is averaged over a judge's repeats, combined over the judges of a jury (`judging.jury`), averaged over
the two orders (which cancels position bias: Zheng et al. 2023, arXiv:2306.05685, section 3.4), and over the
principles by weight. The law: exchanging the responses' names turns p_a into 1 - p_a and changes nothing
else.

A pair is left out only for a stated reason, and counted under it; no label is invented.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.jury import Ballots, Jury, collect_ballots, group_by_pair
from rlaif_dagster.judging.settings import JudgingProtocol
from rlaif_dagster.judging.verdicts import ORDERS, Order, Verdict, lean
from rlaif_dagster.stats.intervals import exceeds
from rlaif_dagster.tables import LazyRows, Row

if TYPE_CHECKING:
    import pyarrow as pa

DROP_REASONS: Final = (
    "failed",
    "refused",
    "unparsed",
    "missing_order",
    "missing_principle",
    "inconsistent",
    "near_tie",
)
"""Why a pair is left out; if there are several reasons, the first counts."""

LABEL_DECIMALS: Final = 9
"""Decimals to which probabilities are rounded, so that sums in another order give the same bytes."""


class PreferenceSettings(BaseModel):
    """Which pairs become preferences."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    near_tie_margin: float = Field(default=0.05, gt=0, le=0.5)
    """A pair with |p_a - 0.5| below this is marked as a near tie; floating-point rounding does not matter."""
    keep_near_ties: bool = True
    """Whether to keep near ties, marked; their soft labels are close to 0.5."""
    keep_inconsistent: bool = True
    """Whether to keep pairs whose two orders prefer different answers, marked."""
    require_both_orders: bool = True
    """Whether to leave out a pair if a principle lacks a verdict in one order."""
    require_all_principles: bool = True
    """Whether to leave out a pair that was not judged by every principle; otherwise the other principles decide."""
    human_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The weight of people's label of a pair; the judge's has the weight 1. 0 ignores people's labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesResult:
    """Preferences, what was left out, and how the two orders agree.

    Attributes:
        rows: Rows of `ai_preferences`, sorted by prompt and responses; each is made on access.
        dropped: Pairs left out, by reason; every reason is listed.
        num_pairs: Pairs with a verdict line, of whatever status.
        consistent: Pairs whose orders agree; dropped near ties count, as in the next three.
        first_first: Pairs in which each order prefers the answer shown first.
        second_second: Pairs in which each order prefers the answer shown second.
        tie_mixed: Pairs in which one order has a tie and the other has none.
        num_human: Pairs whose label includes people's.
    """

    rows: Sequence[Row]
    dropped: Mapping[str, int]
    num_pairs: int
    consistent: int
    first_first: int
    second_second: int
    tie_mixed: int
    num_human: int


def aggregate_verdicts(
    verdicts: Iterable[Verdict],
    *,
    constitution: Constitution | None,
    prompts: Iterable[Mapping[str, Any]],
    responses: Iterable[Mapping[str, Any]],
    settings: PreferenceSettings,
    protocol: JudgingProtocol = "per_principle",
    jury: Jury = Jury(),  # noqa: B008 (a value)
    human: Mapping[str, float] = MappingProxyType({}),
) -> PreferencesResult:
    """Combines verdicts into preferences, with the verdicts of one pair in memory at a time.

    Args:
        verdicts: Verdicts, grouped by pair; in any order within a pair.
        constitution: The weights; None gives every principle the same weight. Pairs judged by the whole
            constitution at once do not need it.
        prompts: Rows with `prompt_id`, `prompt` and `split`.
        responses: Rows with `response_id`, `text` and `finish_reason`.
        settings: Which pairs to keep.
        protocol: By which principles each pair had to be judged; with `one_principle`, those that its verdicts name.
        jury: How several judges are combined.
        human: People's P(a preferred) by pair id; its weight is `settings.human_weight`.

    Raises:
        JudgeError: If a verdict is by a principle that the constitution does not have, or the verdicts are not
            grouped by pair.
    """
    prompt_rows = {row["prompt_id"]: row for row in prompts}
    answers = {row["response_id"]: (row["text"], row["finish_reason"]) for row in responses}
    labels: list[_Label] = []
    dropped = Counter(dict.fromkeys(DROP_REASONS, 0))
    agreement: Counter[str] = Counter()
    num_pairs = num_human = 0
    for group in group_by_pair(verdicts):
        num_pairs += 1
        weights = _find_weights(group, constitution, protocol)
        label = _label_pair(group, weights, settings, jury)
        if isinstance(label, str):
            dropped[label] += 1
            continue
        agreement[label.agreement] += 1
        p_human = human.get(group[0].pair_id) if settings.human_weight else None
        if p_human is not None:
            label = replace(label, p_a=_mean([(label.p_a, 1.0), (p_human, settings.human_weight)]))
            num_human += 1
        reason = label.find_drop_reason(settings)
        if reason is not None:
            dropped[reason] += 1
            continue
        labels.append(label)
    labels.sort(key=lambda label: (label.prompt_id, label.response_a, label.response_b))
    return PreferencesResult(
        rows=LazyRows(
            labels, lambda label: _make_row(label, prompt_rows[label.prompt_id], answers, settings)
        ),
        dropped=dict(dropped),
        num_pairs=num_pairs,
        consistent=agreement["consistent"],
        first_first=agreement["first_first"],
        second_second=agreement["second_second"],
        tie_mixed=agreement["tie_mixed"],
        num_human=num_human,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """The soft label of one pair.

    Attributes:
        pair_id: The pair.
        prompt_id: Its prompt.
        response_a: Its first response.
        response_b: Its second response.
        p_a: P(a preferred).
        p_a_ab: The same by the verdicts that saw a first, or None without any.
        p_a_ba: The same by those that saw b first.
        judge_agreement: The share of pairs of judges that prefer the same answer, or None with one judge.
        num_verdicts: Verdicts that count.
        principles: (principle id, p_a by this principle, its weight), sorted by id.
    """

    pair_id: str
    prompt_id: str
    response_a: str
    response_b: str
    p_a: float
    p_a_ab: float | None
    p_a_ba: float | None
    judge_agreement: float | None
    num_verdicts: int
    principles: tuple[tuple[str | None, float, float], ...]

    @property
    def agreement(self) -> str:
        """How the two orders agree: consistent, first_first, second_second, tie_mixed, or one_order."""
        if self.p_a_ab is None or self.p_a_ba is None:
            return "one_order"
        seen = (lean(self.p_a_ab), lean(self.p_a_ba))  # "first" stands for a in both
        match seen:
            case ("first", "second"):
                return "first_first"
            case ("second", "first"):
                return "second_second"
            case (one, other) if one == other:
                return "consistent"
            case _:
                return "tie_mixed"

    def is_near_tie(self, settings: PreferenceSettings) -> bool:
        return exceeds(settings.near_tie_margin, abs(self.p_a - 0.5))

    def find_drop_reason(self, settings: PreferenceSettings) -> str | None:
        if not settings.keep_inconsistent and self.agreement != "consistent":
            return "inconsistent"
        if not settings.keep_near_ties and self.is_near_tie(settings):
            return "near_tie"
        return None


def _label_pair(
    group: Sequence[Verdict],
    weights: Mapping[str | None, float],
    settings: PreferenceSettings,
    jury: Jury,
) -> _Label | str:
    """Computes the label of a pair, or the reason why it has none."""
    ballots = _find_counting(collect_ballots(group), weights, settings)
    if not ballots or (settings.require_all_principles and len(ballots) < len(weights)):
        return _explain_gap(group, weights, ballots)
    usable = {principle: _combine_judges(judges, jury) for principle, judges in ballots.items()}
    combined = {principle: _mean_of_orders(orders) for principle, orders in usable.items()}
    return _Label(
        pair_id=group[0].pair_id,
        prompt_id=group[0].prompt_id,
        response_a=group[0].response_a,
        response_b=group[0].response_b,
        p_a=_mean([(p_a, weights[principle]) for principle, p_a in combined.items()]),
        p_a_ab=_mean_of_order(usable, weights, "ab"),
        p_a_ba=_mean_of_order(usable, weights, "ba"),
        judge_agreement=_measure_agreement(ballots, weights),
        num_verdicts=sum(
            verdict.probability_a is not None and verdict.judge in ballots.get(verdict.principle_id, {})
            for verdict in group
        ),
        principles=tuple(
            (principle, round(p_a, LABEL_DECIMALS), weights[principle]) for principle, p_a in combined.items()
        ),
    )


def _find_counting(
    ballots: Ballots, weights: Mapping[str | None, float], settings: PreferenceSettings
) -> Ballots:
    """Finds, by principle, the ballots of judges with enough verdicts to count; principles without any are left out."""
    enough = len(ORDERS) if settings.require_both_orders else 1
    counting = {
        principle: {j: orders for j, orders in ballots.get(principle, {}).items() if len(orders) >= enough}
        for principle in weights
    }
    return {principle: judges for principle, judges in counting.items() if judges}


def _combine_judges(judges: Mapping[str, Mapping[Order, float]], jury: Jury) -> dict[Order, float]:
    by_order = {order: {j: p[order] for j, p in judges.items() if order in p} for order in ORDERS}
    return {order: jury.weigh(said) for order, said in by_order.items() if said}


def _measure_agreement(ballots: Ballots, weights: Mapping[str | None, float]) -> float | None:
    """Measures the share of pairs of judges that prefer the same answer, weighted by principle; None with one judge."""
    shares = []
    for principle, judges in ballots.items():
        leans = [lean(round(_mean_of_orders(orders), LABEL_DECIMALS)) for orders in judges.values()]
        equal = [one == other for one, other in combinations(leans, 2)]
        if equal:
            shares.append((sum(equal) / len(equal), weights[principle]))
    return _mean(shares) if shares else None


def _find_weights(
    group: Sequence[Verdict], constitution: Constitution | None, protocol: JudgingProtocol
) -> dict[str | None, float]:
    """Finds the weight of each principle by which the pair should be judged, sorted by id."""
    seen = {verdict.principle_id for verdict in group}
    if seen == {None}:
        return {None: 1.0}
    if constitution is None:
        return dict.fromkeys(sorted(seen, key=lambda principle: principle or ""), 1.0)
    weights: dict[str | None, float] = {p.id: p.weight for p in constitution.principles}
    unknown = seen - set(weights)
    if unknown:
        raise JudgeError(
            f"pair {group[0].pair_id} has verdicts by {sorted(map(str, unknown))}, "
            f"but the constitution has {sorted(map(str, weights))}.\n"
            "  remedy: judge by these principles, or by the whole constitution, but do not mix them"
        )
    if protocol == "one_principle":
        return {principle: weight for principle, weight in weights.items() if principle in seen}
    return weights


def _explain_gap(group: Sequence[Verdict], weights: Mapping[str | None, float], counting: Ballots) -> str:
    """Says why a pair has no label: verdicts without preference, a missing order, or a missing principle."""
    answered = {
        (verdict.judge, verdict.principle_id, verdict.order)
        for verdict in group
        if verdict.probability_a is not None
    }
    open_statuses = {
        verdict.status
        for verdict in group
        if verdict.principle_id not in counting
        and (verdict.judge, verdict.principle_id, verdict.order) not in answered
    }
    for status in ("failed", "refused", "unparsed"):
        if status in open_statuses:
            return status
    judged = {principle for _, principle, _ in answered}
    return "missing_order" if judged.issuperset(weights) else "missing_principle"


def _mean_of_orders(orders: Mapping[Order, float]) -> float:
    return math.fsum(orders.values()) / len(orders)


def _mean_of_order(
    usable: Mapping[str | None, Mapping[Order, float]], weights: Mapping[str | None, float], order: Order
) -> float | None:
    found = [(orders[order], weights[p]) for p, orders in usable.items() if order in orders]
    return _mean(found) if found else None


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Computes the weighted mean of (value, weight)."""
    total = math.fsum(weight for _, weight in weighted)
    return round(math.fsum(value * weight for value, weight in weighted) / total, LABEL_DECIMALS)


def _make_row(
    label: _Label,
    prompt: Mapping[str, Any],
    answers: Mapping[str, tuple[str, str | None]],
    settings: PreferenceSettings,
) -> Row:
    (text_a, reason_a), (text_b, reason_b) = answers[label.response_a], answers[label.response_b]
    a_chosen = label.p_a >= 0.5  # noqa: PLR2004 (at exactly one half the names a and b mean nothing: take a)
    return {
        "pair_id": label.pair_id,
        "prompt_id": label.prompt_id,
        "split": prompt["split"],
        "prompt": prompt["prompt"],
        "response_a": label.response_a,
        "response_b": label.response_b,
        "text_a": text_a,
        "text_b": text_b,
        "finish_reason_a": reason_a,
        "finish_reason_b": reason_b,
        "p_a": label.p_a,
        "p_a_ab": label.p_a_ab,
        "p_a_ba": label.p_a_ba,
        "consistent": None if label.agreement == "one_order" else label.agreement == "consistent",
        "near_tie": label.is_near_tie(settings),
        "judge_agreement": label.judge_agreement,
        "num_verdicts": label.num_verdicts,
        "principles": [
            {"principle_id": principle, "p_a": p_a, "weight": weight}
            for principle, p_a, weight in label.principles
        ],
        "chosen": text_a if a_chosen else text_b,
        "rejected": text_b if a_chosen else text_a,
    }


def preferences_schema() -> "pa.Schema":
    """The columns of the `ai_preferences` table."""
    import pyarrow as pa

    principle = pa.struct(
        [
            pa.field("principle_id", pa.string()),
            pa.field("p_a", pa.float64(), nullable=False),
            pa.field("weight", pa.float64(), nullable=False),
        ]
    )
    names = ("pair_id", "prompt_id", "split", "prompt", "response_a", "response_b", "text_a", "text_b")
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in names),
            pa.field("finish_reason_a", pa.string()),
            pa.field("finish_reason_b", pa.string()),
            pa.field("p_a", pa.float64(), nullable=False),
            pa.field("p_a_ab", pa.float64()),
            pa.field("p_a_ba", pa.float64()),
            pa.field("consistent", pa.bool_()),
            pa.field("near_tie", pa.bool_(), nullable=False),
            pa.field("judge_agreement", pa.float64()),
            pa.field("num_verdicts", pa.int64(), nullable=False),
            pa.field("principles", pa.list_(principle), nullable=False),
            pa.field("chosen", pa.string(), nullable=False),
            pa.field("rejected", pa.string(), nullable=False),
        ]
    )
