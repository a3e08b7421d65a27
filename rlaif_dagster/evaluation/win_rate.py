"""Win rates of the aligned policy over the base policy, from rows of held-out comparisons.

An outcome is 1 where the aligned answer is better, 0 where the base answer is, 0.5 for a tie. Two identical
answers are a tie whatever a judge said. What was not measured is None, never 0 and never a tie.

The law: exchanging the two answers in every comparison turns each win rate p into 1 - p.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlaif_dagster.evaluation.intervals import Estimate, clustered_mean, clustered_proportion

_EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleOutcome:
    """How one comparison stands under one principle alone.

    Attributes:
        principle_id: The principle.
        p_judge: The judge's P(aligned answer better), mean of both orders; None where it gave no verdict.
        gold: The ground truth, 1, 0.5 or 0; None where there is none.
    """

    principle_id: str
    p_judge: float | None
    gold: float | None = None

    def __post_init__(self) -> None:
        _require_probability("p_judge", self.p_judge)
        _require_outcome("gold", self.gold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One answer of the base policy beside one of the aligned policy, on one held-out prompt.

    Probabilities are the judge's P(aligned answer better), combined over principles by weight.

    Attributes:
        prompt_id: The prompt, which is also the cluster of the intervals.
        index: Which sample of the prompt, from 0.
        prompt: Its text.
        category: Its category, where prompts have one.
        base_text: The base policy's answer.
        aligned_text: The aligned policy's answer.
        p_judge: Mean of both orders; None where the judge gave no usable verdict.
        p_judge_ab: With the aligned answer shown first.
        p_judge_ba: With the base answer shown first.
        gold: The ground truth, 1, 0.5 or 0; None where there is none.
        principles: The same, one principle at a time.
        base_reward: The reward model's score of the base answer.
        aligned_reward: The reward model's score of the aligned answer.
        base_tokens: Length of the base answer in tokens.
        aligned_tokens: Length of the aligned answer in tokens.
        base_clean: Whether the gold world's grammar accepts the base answer.
        aligned_clean: Whether it accepts the aligned answer.
    """

    prompt_id: str
    index: int = 0
    prompt: str
    category: str | None = None
    base_text: str
    aligned_text: str
    p_judge: float | None
    p_judge_ab: float | None = None
    p_judge_ba: float | None = None
    gold: float | None = None
    principles: tuple[PrincipleOutcome, ...] = ()
    base_reward: float | None = None
    aligned_reward: float | None = None
    base_tokens: int | None = None
    aligned_tokens: int | None = None
    base_clean: bool | None = None
    aligned_clean: bool | None = None

    def __post_init__(self) -> None:
        for name in ("p_judge", "p_judge_ab", "p_judge_ba"):
            _require_probability(name, getattr(self, name))
        _require_outcome("gold", self.gold)

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text."""
        return self.base_text == self.aligned_text

    @property
    def judge_outcome(self) -> float | None:
        """1, 0.5 or 0 by the judge."""
        return _EVEN if self.identical else decide(self.p_judge)

    @property
    def gold_outcome(self) -> float | None:
        """1, 0.5 or 0 by the ground truth; None where the world has none."""
        return _EVEN if self.identical and self.gold is not None else self.gold

    @property
    def reward_outcome(self) -> float | None:
        """1, 0.5 or 0 by the reward model."""
        if self.base_reward is None or self.aligned_reward is None:
            return None
        return _EVEN if self.identical else _compare(self.aligned_reward, self.base_reward)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWinRate:
    """The win rate within a category of prompts, or under one principle."""

    name: str
    judge: Estimate | None
    gold: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationMetrics:
    """What the evaluation found; None is "not measured".

    Attributes:
        confidence: Of every interval below.
        num_prompts: Held-out prompts.
        num_comparisons: Comparisons on them.
        num_identical: Comparisons whose two answers are the same text: ties.
        num_unjudged: Comparisons for which the judge gave no usable verdict: in no judge figure.
        win_rate_judge: Share of comparisons that the aligned policy wins by the judge, ties half.
        soft_win_rate_judge: Mean of the judge's P(aligned better).
        win_rate_gold: Share of comparisons that the aligned policy wins by the ground truth, ties half.
        win_rate_reward_model: Share in which the reward model scores the aligned answer higher, ties half.
        by_category: The win rates within each category, by name.
        by_principle: The win rates under each principle alone, by name.
        order_consistency: Share of different pairs on which the judge prefers the same answer in both orders.
        judge_gold_agreement: Share of comparisons that the judge decides as gold does, where gold has no tie.
        longer_wins_judge: Share of comparisons of unequal length that the longer answer wins by the judge.
        base_tokens: Mean length of the base policy's answers in tokens.
        aligned_tokens: Mean length of the aligned policy's answers in tokens.
        token_difference: Mean of aligned minus base length in tokens.
        base_characters: Mean length of the base policy's answers in characters.
        aligned_characters: Mean length of the aligned policy's answers in characters.
        base_reward: Mean reward of the base policy's answers.
        aligned_reward: Mean reward of the aligned policy's answers.
        base_clean: Share of base answers that the gold world's grammar accepts.
        aligned_clean: Share of aligned answers that it accepts.
        kl: Mean KL divergence of the aligned from the base policy, in nats per answer.
        reward_model_accuracy: Share of held-out preference pairs that the reward model orders as labelled.
        longer_wins_accuracy: The same for the rule "the longer answer is better": the baseline beside it.
    """

    confidence: float
    num_prompts: int
    num_comparisons: int
    num_identical: int
    num_unjudged: int
    win_rate_judge: Estimate | None = None
    soft_win_rate_judge: Estimate | None = None
    win_rate_gold: Estimate | None = None
    win_rate_reward_model: Estimate | None = None
    by_category: tuple[GroupWinRate, ...] = ()
    by_principle: tuple[GroupWinRate, ...] = ()
    order_consistency: Estimate | None = None
    judge_gold_agreement: Estimate | None = None
    longer_wins_judge: Estimate | None = None
    base_tokens: Estimate | None = None
    aligned_tokens: Estimate | None = None
    token_difference: Estimate | None = None
    base_characters: Estimate | None = None
    aligned_characters: Estimate | None = None
    base_reward: Estimate | None = None
    aligned_reward: Estimate | None = None
    base_clean: Estimate | None = None
    aligned_clean: Estimate | None = None
    kl: Estimate | None = None
    reward_model_accuracy: Estimate | None = None
    longer_wins_accuracy: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the metrics as JSON values; `from_json(canonical_json(m.to_json())) == m`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: bytes) -> "EvaluationMetrics":
        """Reads the bytes of `metrics.json`.

        Raises:
            ValueError: If they are not metrics (pydantic's error, which names each field).
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(data, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Turns one quantity of each comparison into an estimate, skipping those that lack it."""

    comparisons: Sequence[Comparison]
    confidence: float

    def share(self, quantity: Callable[[Comparison], float | None]) -> Estimate | None:
        """Estimates the mean of a quantity in [0, 1]; None where no comparison has it."""
        return self._estimate(quantity, clustered_proportion)

    def mean(self, quantity: Callable[[Comparison], float | None]) -> Estimate | None:
        """Estimates the mean of an unbounded quantity; None where no comparison has it."""
        return self._estimate(quantity, clustered_mean)

    def _estimate(
        self, quantity: Callable[[Comparison], float | None], estimate: Callable[..., Estimate]
    ) -> Estimate | None:
        measured = [
            (value, row.prompt_id) for row in self.comparisons if (value := quantity(row)) is not None
        ]
        if not measured:
            return None
        return estimate(
            [value for value, _ in measured],
            [cluster for _, cluster in measured],
            confidence=self.confidence,
        )


def decide(p: float | None) -> float | None:
    """Turns P(aligned better) into 1, 0.5 or 0: above, at or below one half."""
    return None if p is None else _compare(p, _EVEN)


def summarise(
    comparisons: Sequence[Comparison],
    *,
    confidence: float = 0.95,
    kl: Estimate | None = None,
    reward_model_accuracy: Estimate | None = None,
    longer_wins_accuracy: Estimate | None = None,
) -> EvaluationMetrics:
    """Summarises held-out comparisons; see `EvaluationMetrics` for each figure's definition.

    Args:
        comparisons: All comparisons, judged or not.
        confidence: Of the intervals, in (0, 1).
        kl: KL divergence of the aligned from the base policy in nats per answer, where it was measured.
        reward_model_accuracy: On held-out preference pairs, where it was measured.
        longer_wins_accuracy: Of the "longer answer" rule on the same pairs.
    """
    meter = Meter(comparisons=comparisons, confidence=confidence)
    return EvaluationMetrics(
        confidence=confidence,
        num_prompts=len({row.prompt_id for row in comparisons}),
        num_comparisons=len(comparisons),
        num_identical=sum(row.identical for row in comparisons),
        num_unjudged=sum(row.judge_outcome is None for row in comparisons),
        win_rate_judge=_judge_win_rate(meter),
        soft_win_rate_judge=meter.share(
            lambda row: _EVEN if row.identical and row.p_judge is not None else row.p_judge
        )
        if _is_judged(meter, lambda row: row.p_judge)
        else None,
        win_rate_gold=meter.share(lambda row: row.gold_outcome),
        win_rate_reward_model=meter.share(lambda row: row.reward_outcome),
        by_category=_summarise_categories(comparisons, confidence),
        by_principle=_summarise_principles(meter),
        order_consistency=meter.share(_same_in_both_orders),
        judge_gold_agreement=meter.share(_judge_agrees_with_gold),
        longer_wins_judge=meter.share(_longer_wins),
        base_tokens=meter.mean(lambda row: row.base_tokens),
        aligned_tokens=meter.mean(lambda row: row.aligned_tokens),
        token_difference=meter.mean(_token_difference),
        base_characters=meter.mean(lambda row: len(row.base_text)),
        aligned_characters=meter.mean(lambda row: len(row.aligned_text)),
        base_reward=meter.mean(lambda row: row.base_reward),
        aligned_reward=meter.mean(lambda row: row.aligned_reward),
        base_clean=meter.share(lambda row: row.base_clean),
        aligned_clean=meter.share(lambda row: row.aligned_clean),
        kl=kl,
        reward_model_accuracy=reward_model_accuracy,
        longer_wins_accuracy=longer_wins_accuracy,
    )


def _summarise_categories(comparisons: Sequence[Comparison], confidence: float) -> tuple[GroupWinRate, ...]:
    groups: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.category is not None:
            groups.setdefault(row.category, []).append(row)
    return tuple(
        _summarise_category(name, Meter(comparisons=groups[name], confidence=confidence))
        for name in sorted(groups)
    )


def _summarise_category(name: str, meter: Meter) -> GroupWinRate:
    return GroupWinRate(
        name=name,
        judge=_judge_win_rate(meter),
        gold=meter.share(lambda row: row.gold_outcome),
    )


def _judge_win_rate(meter: Meter) -> Estimate | None:
    """Returns the win rate by the judge; None where different answers exist and none of them was judged."""
    return meter.share(lambda row: row.judge_outcome) if _is_judged(meter, lambda row: row.p_judge) else None


def _is_judged(meter: "Meter", measure: Callable[[Comparison], float | None]) -> bool:
    """Whether identical answers, which tie of themselves, are not all that a figure would stand on."""
    different = [row for row in meter.comparisons if not row.identical]
    return not different or any(measure(row) is not None for row in different)


def _summarise_principles(meter: Meter) -> tuple[GroupWinRate, ...]:
    names = sorted({outcome.principle_id for row in meter.comparisons for outcome in row.principles})
    return tuple(_summarise_principle(meter, name) for name in names)


def _summarise_principle(meter: Meter, name: str) -> GroupWinRate:
    return GroupWinRate(
        name=name,
        judge=meter.share(lambda row: _principle_outcome(row, name, by="judge"))
        if _is_judged(meter, lambda row: _principle_outcome(row, name, by="judge"))
        else None,
        gold=meter.share(lambda row: _principle_outcome(row, name, by="gold")),
    )


def _principle_outcome(row: Comparison, name: str, *, by: str) -> float | None:
    for outcome in row.principles:
        if outcome.principle_id == name:
            measured = decide(outcome.p_judge) if by == "judge" else outcome.gold
            return _EVEN if row.identical and measured is not None else measured
    return None


def _same_in_both_orders(row: Comparison) -> float | None:
    if row.identical or row.p_judge_ab is None or row.p_judge_ba is None:
        return None
    return float(decide(row.p_judge_ab) == decide(row.p_judge_ba))


def _judge_agrees_with_gold(row: Comparison) -> float | None:
    if row.judge_outcome is None or row.gold_outcome in {None, _EVEN}:
        return None
    return float(row.judge_outcome == row.gold_outcome)


def _longer_wins(row: Comparison) -> float | None:
    difference = _token_difference(row)
    if row.judge_outcome is None or not difference:
        return None
    return row.judge_outcome if difference > 0 else 1.0 - row.judge_outcome


def _token_difference(row: Comparison) -> int | None:
    if row.base_tokens is None or row.aligned_tokens is None:
        return None
    return row.aligned_tokens - row.base_tokens


def _compare(left: float, right: float) -> float:
    return _EVEN if left == right else float(left > right)


def _require_probability(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}: a probability lies in [0, 1], or is None where not measured")


def _require_outcome(name: str, value: float | None) -> None:
    if value is not None and value not in {0.0, _EVEN, 1.0}:
        raise ValueError(f"{name} is {value}: an outcome is 1, 0.5 or 0, or is None where not measured")
