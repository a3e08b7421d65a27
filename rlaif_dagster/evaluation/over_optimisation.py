"""Measures what choosing by the reward model really gains: best-of-n of the base policy, over its KL.

The reward model is a proxy. Optimised a little, it picks better answers; optimised harder, it picks answers on which it
is wrong (Gao et al. 2023, Scaling laws for reward model overoptimization, arXiv:2210.10760). Best-of-n samples the base
policy n times and takes the answer with the highest reward. It needs no training, and its KL divergence from the base
policy is at most log n - (n - 1) / n nats (Hilton and Stiennon; Beirami et al. 2024, arXiv:2401.01879).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from rlaif_dagster.evaluation.comparison import Source
from rlaif_dagster.stats.intervals import (
    Estimate,
    clustered_bounded_mean,
    clustered_mean,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    """An answer of the base policy.

    Attributes:
        prompt_id: Its prompt.
        reward: Its reward by the reward model.
        win_rate: How often it beats other answers of the base policy, by a more trusted source; in [0, 1].
    """

    prompt_id: str
    reward: float
    win_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """The answers that the reward model chooses from n.

    Attributes:
        n: How many it chooses from.
        kl: KL divergence from the base policy, in nats per answer (an upper bound).
        reward: Mean reward of the chosen answers.
        win_rate: How often they beat the base policy's answers, by a more trusted source.
    """

    n: int
    kl: float
    reward: Estimate
    win_rate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class OverOptimisation:
    """The curve of best-of-n.

    Attributes:
        scorer: The source that is trusted more than the reward model: `ground_truth`, `independent_judge` or `judge`.
        points: For n = 1, 2, 4 and so on, and the number of answers to each prompt.
        best_n: The n with the highest win rate.
        decline: Win rate at the largest n minus that at `best_n`, paired; None if the largest is the best. `best_n` is
            chosen from the same numbers, so this is biased towards a decline.
    """

    scorer: Source
    points: tuple[BestOfN, ...]
    best_n: int
    decline: Estimate | None


def find_kl(n: int) -> float:
    """Bounds KL(best-of-n || base) in nats per answer: log n - (n - 1) / n."""
    return math.log(n) - (n - 1) / n


def trace_over_optimisation(
    samples: Sequence[ScoredSample], *, scorer: Source, confidence: float = 0.95
) -> OverOptimisation | None:
    """Traces best-of-n from several answers to each prompt.

    For each prompt's N answers, the mean over all choices of n is computed exactly, without sampling (Nakano et al.
    2021, WebGPT, arXiv:2112.09332, appendix I). So each prompt gives one value, and intervals are over prompts.

    Args:
        samples: The answers; prompts with fewer answers than others are left out.
        scorer: The source of the win rates.
        confidence: The confidence of the intervals, in (0, 1).

    Returns:
        The curve; None if no prompt has two answers.
    """
    by_prompt: dict[str, list[ScoredSample]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt_id, []).append(sample)
    num_samples = max((len(held) for held in by_prompt.values()), default=0)
    if num_samples < 2:  # noqa: PLR2004 - a choice is between two
        return None
    prompts = sorted(name for name, held in by_prompt.items() if len(held) == num_samples)
    sizes = sorted(
        {2**power for power in range(num_samples.bit_length()) if 2**power <= num_samples} | {num_samples}
    )
    win_rates = {
        n: [choose_best([(s.reward, s.win_rate) for s in by_prompt[name]], n) for name in prompts]
        for n in sizes
    }
    points = tuple(
        BestOfN(
            n=n,
            kl=find_kl(n),
            reward=clustered_mean(
                [choose_best([(s.reward, s.reward) for s in by_prompt[name]], n) for name in prompts],
                prompts,
                confidence=confidence,
            ),
            win_rate=clustered_bounded_mean(win_rates[n], prompts, bounds=(0.0, 1.0), confidence=confidence),
        )
        for n in sizes
    )
    best_n = max(points, key=lambda point: (point.win_rate.value, -point.n)).n
    losses = [last - best for last, best in zip(win_rates[sizes[-1]], win_rates[best_n], strict=True)]
    return OverOptimisation(
        scorer=scorer,
        points=points,
        best_n=best_n,
        decline=None
        if best_n == sizes[-1]
        else clustered_bounded_mean(losses, prompts, bounds=(-1.0, 1.0), confidence=confidence),
    )


def choose_best(answers: Sequence[tuple[float, float]], n: int) -> float:
    """Finds the expected value of the answer with the highest reward among n answers, drawn without replacement.

    The i-th lowest reward is the highest of n with probability C(i - 1, n - 1) / C(N, n); equal rewards share theirs.

    Args:
        answers: (reward, value) of each of N answers.
        n: From 1 to N.
    """
    total = math.comb(len(answers), n)
    rank, terms = 0, []
    for _, group in groupby(sorted(answers), key=itemgetter(0)):
        values = [value for _, value in group]
        chances = math.comb(rank + len(values), n) - math.comb(rank, n)
        terms.append(chances / total * math.fsum(values) / len(values))
        rank += len(values)
    return min(max(math.fsum(terms), min(value for _, value in answers)), max(value for _, value in answers))
