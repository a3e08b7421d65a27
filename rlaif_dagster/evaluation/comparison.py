"""Comparisons: one answer of each policy to a held-out prompt, and who prefers which.

An outcome is 1 if the aligned answer is better, 0 if the base answer is, 0.5 for a tie. Two identical answers are a
tie, whatever a judge said. What was not measured is None, never 0 and never a tie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.stats.intervals import Estimate, clustered_mean, clustered_proportion

Source = Literal["judge", "independent_judge", "ground_truth", "reward_model"]
"""Who compares answers: the judge that labelled the training data, an independent judge, ground truth, the proxy."""
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
TRUSTED: Final[tuple[Source, ...]] = ("ground_truth", "independent_judge", "judge")
"""The order of trust: the first available source counts. The judge is last, because the policy was trained on it."""

EVEN: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleOutcome:
    """The outcome of one comparison by one principle alone.

    Attributes:
        principle_id: The principle.
        p_judge: The judge's P(aligned answer better), mean of both orders; None if it gave no verdict.
        p_independent: The same by the independent judge; None also if there is none.
        ground_truth: The ground truth, 1, 0.5 or 0; None if there is none.
    """

    principle_id: str
    p_judge: float | None
    p_independent: float | None = None
    ground_truth: float | None = None

    def __post_init__(self) -> None:
        _require_probability("p_judge", self.p_judge)
        _require_probability("p_independent", self.p_independent)
        _require_outcome("ground_truth", self.ground_truth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One answer of the base policy and one of the aligned policy to one held-out prompt.

    Probabilities are a judge's P(aligned answer better), combined over principles by weight.

    Attributes:
        prompt_id: The prompt, which is also the cluster of the intervals.
        index: The 0-based index of the sample.
        prompt: Its text.
        category: Its category, if prompts have one.
        base_text: The base policy's answer.
        aligned_text: The aligned policy's answer.
        p_judge: Mean of both orders; None if the judge gave no usable verdict.
        p_judge_ab: With the aligned answer shown first.
        p_judge_ba: With the base answer shown first.
        p_independent: The same by the independent judge; None also if there is none.
        p_independent_ab: With the aligned answer shown first.
        p_independent_ba: With the base answer shown first.
        ground_truth: The ground truth, 1, 0.5 or 0; None if there is none.
        principles: The same, one principle at a time.
        base_reward: The reward model's score of the base answer.
        aligned_reward: The reward model's score of the aligned answer.
        base_tokens: Length of the base answer in tokens.
        aligned_tokens: Length of the aligned answer in tokens.
        base_finish_reason: How the base answer ended: `stop`, or `length` if it was cut at `max_new_tokens`.
        aligned_finish_reason: How the aligned answer ended.
        base_clean: Whether the embedded world's grammar accepts the base answer.
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
    p_independent: float | None = None
    p_independent_ab: float | None = None
    p_independent_ba: float | None = None
    ground_truth: float | None = None
    principles: tuple[PrincipleOutcome, ...] = ()
    base_reward: float | None = None
    aligned_reward: float | None = None
    base_tokens: int | None = None
    aligned_tokens: int | None = None
    base_finish_reason: FinishReason | None = None
    aligned_finish_reason: FinishReason | None = None
    base_clean: bool | None = None
    aligned_clean: bool | None = None

    def __post_init__(self) -> None:
        for judge in ("p_judge", "p_independent"):
            for name in (judge, f"{judge}_ab", f"{judge}_ba"):
                _require_probability(name, getattr(self, name))
        _require_outcome("ground_truth", self.ground_truth)

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text."""
        return self.base_text == self.aligned_text

    @property
    def judge_outcome(self) -> float | None:
        """1, 0.5 or 0 by the judge."""
        return EVEN if self.identical else decide(self.p_judge)

    @property
    def independent_outcome(self) -> float | None:
        """1, 0.5 or 0 by the independent judge; None if there is none."""
        return EVEN if self.identical and self.p_independent is not None else decide(self.p_independent)

    @property
    def ground_truth_outcome(self) -> float | None:
        """1, 0.5 or 0 by the ground truth; None if there is none."""
        return EVEN if self.identical and self.ground_truth is not None else self.ground_truth

    @property
    def reward_outcome(self) -> float | None:
        """1, 0.5 or 0 by the reward model."""
        if self.base_reward is None or self.aligned_reward is None:
            return None
        return EVEN if self.identical else _compare(self.aligned_reward, self.base_reward)

    def find_outcome(self, source: Source) -> float | None:
        """1, 0.5 or 0 by a source."""
        return {
            "judge": self.judge_outcome,
            "independent_judge": self.independent_outcome,
            "ground_truth": self.ground_truth_outcome,
            "reward_model": self.reward_outcome,
        }[source]

    def find_principle_outcome(self, name: str, source: Source) -> float | None:
        """1, 0.5 or 0 by a source, by one principle alone; None if that was not measured."""
        for outcome in self.principles:
            if outcome.principle_id == name:
                measured = {
                    "judge": decide(outcome.p_judge),
                    "independent_judge": decide(outcome.p_independent),
                    "ground_truth": outcome.ground_truth,
                }.get(source)
                return EVEN if self.identical and measured is not None else measured
        return None

    def agree_orders(self, source: Source) -> float | None:
        """1 if a judge prefers the same answer in both orders, else 0; None without two verdicts or two answers."""
        orders = {
            "judge": (self.p_judge_ab, self.p_judge_ba),
            "independent_judge": (self.p_independent_ab, self.p_independent_ba),
        }.get(source, (None, None))
        if self.identical or None in orders:
            return None
        return float(decide(orders[0]) == decide(orders[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Turns one quantity of each comparison into an estimate, skipping those that lack it."""

    comparisons: Sequence[Comparison]
    confidence: float

    def share(self, quantity: Callable[[Comparison], float | None]) -> Estimate | None:
        """Estimates the mean of a quantity in [0, 1]; None if no comparison has it."""
        return self._estimate(quantity, clustered_proportion)

    def mean(self, quantity: Callable[[Comparison], float | None]) -> Estimate | None:
        """Estimates the mean of an unbounded quantity; None if no comparison has it."""
        return self._estimate(quantity, clustered_mean)

    def win_rate(self, outcome: Callable[[Comparison], float | None]) -> Estimate | None:
        """Estimates a win rate; None if only identical answers, which always tie, have an outcome."""
        different = [row for row in self.comparisons if not row.identical]
        is_measured = not different or any(outcome(row) is not None for row in different)
        return self.share(outcome) if is_measured else None

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
    return None if p is None else _compare(p, EVEN)


def _compare(left: float, right: float) -> float:
    return EVEN if left == right else float(left > right)


def _require_probability(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}: a probability is in [0, 1], or None if not measured")


def _require_outcome(name: str, value: float | None) -> None:
    if value is not None and value not in {0.0, EVEN, 1.0}:
        raise ValueError(f"{name} is {value}: an outcome is 1, 0.5 or 0, or None if not measured")
