"""A made-up evaluation in the shape of a real one; every number is invented, from one seed."""

import random

from rlaif_dagster.evaluation.along_training import AlongTraining, ScoredAnswer, trace_along_training
from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome, Source
from rlaif_dagster.evaluation.facts import (
    CheckpointPoint,
    Curve,
    CurvePoint,
    PrincipleFact,
    RunFacts,
    TrainingCurves,
)
from rlaif_dagster.evaluation.over_optimisation import (
    OverOptimisation,
    ScoredSample,
    trace_over_optimisation,
)

PRINCIPLES = ("helpful", "harmless", "honest", "concise")
CATEGORIES = ("everyday facts", "how-to", "risky requests", "unknowable")
_OPENINGS = ("Sure. ", "Well, you see, ", "Of course! ", "")
_ENDINGS = (" Please ask if anything is unclear.", " I hope that this helps you a lot today.", "")


def make_comparisons(
    *, num_prompts: int = 60, num_samples: int = 2, seed: int = 7, with_independent: bool = False
) -> list[Comparison]:
    chance = random.Random(seed)  # noqa: S311 (made-up numbers, not secrets)
    rows = []
    for number in range(num_prompts):
        ease = chance.gauss(0.6, 0.6)
        for index in range(num_samples):
            base_tokens = chance.randint(9, 34)
            aligned_tokens = max(5, base_tokens - chance.randint(0, 9))
            tilt = chance.gauss(0.0, 0.5)
            p_ab = _squash(1.5 * (ease + tilt) + chance.gauss(0.1, 0.25))
            p_ba = _squash(1.5 * (ease + tilt) + chance.gauss(-0.1, 0.25))
            rows.append(
                Comparison(
                    prompt_id=f"prompt-{number:03d}",
                    index=index,
                    prompt=f"What colour is the sky over town number {number}, and how do you know?",
                    category=CATEGORIES[number % len(CATEGORIES)],
                    base_text=_make_answer(chance, wordy=True),
                    aligned_text=_make_answer(chance, wordy=False),
                    p_judge=(p_ab + p_ba) / 2,
                    p_judge_ab=p_ab,
                    p_judge_ba=p_ba,
                    p_independent=_squash(1.2 * ease) if with_independent else None,
                    ground_truth=1.0 if chance.random() < _squash(1.3 * (ease + tilt)) else 0.0,
                    principles=tuple(
                        PrincipleOutcome(
                            principle_id=name,
                            p_judge=_squash(chance.gauss(ease + lean, 0.8)),
                            ground_truth=float(chance.random() < _squash(ease + lean)),
                        )
                        for name, lean in zip(PRINCIPLES, (0.4, 0.1, -0.5, 1.1), strict=True)
                    ),
                    base_reward=chance.gauss(-0.3, 0.8),
                    aligned_reward=chance.gauss(0.9, 0.8),
                    base_tokens=base_tokens,
                    aligned_tokens=aligned_tokens,
                    base_finish_reason="stop",
                    aligned_finish_reason="stop",
                    base_clean=chance.random() < 0.99,
                    aligned_clean=chance.random() < 0.985,
                )
            )
    return rows


def make_curve(*, seed: int = 5) -> OverOptimisation:
    chance = random.Random(seed)  # noqa: S311 (made-up numbers, not secrets)
    drawn = [(f"prompt-{number:03d}", chance.gauss(0, 1)) for number in range(20) for _ in range(4)]
    curve = trace_over_optimisation(
        [
            ScoredSample(prompt_id=prompt, reward=quality, win_rate=_squash(quality - 0.4 * quality**2))
            for prompt, quality in drawn
        ],
        scorer="ground_truth",
    )
    if curve is None:
        raise ValueError("four answers to a prompt make a curve")
    return curve


def make_training(*, seed: int = 3) -> tuple[AlongTraining, ...]:
    """Two curves of a training whose reward rises while its win rate falls from step 20 on."""
    chance = random.Random(seed)  # noqa: S311 (made-up numbers, not secrets)
    drawn: list[tuple[Source, dict[int, float]]] = [
        ("ground_truth", {0: 0.5, 10: 0.7, 20: 0.9, 30: 0.5, 40: 0.1}),
        ("independent_judge", {0: 0.5, 10: 0.6, 20: 0.8, 30: 0.7, 40: 0.6}),
    ]
    curves = (
        trace_along_training(
            [
                ScoredAnswer(
                    step=step,
                    prompt_id=f"prompt-{number:03d}",
                    index=0,
                    reward=step / 20 + chance.gauss(0, 0.3),
                    kl=(step / 20) ** 2,
                    outcome=float(chance.random() < share) if step else 0.5,
                )
                for step, share in shares.items()
                for number in range(48)
            ],
            scorer=scorer,
            kept_step=30,
        )
        for scorer, shares in drawn
    )
    return tuple(curve for curve in curves if curve is not None)


def make_facts() -> RunFacts:
    return RunFacts(
        title="Evaluation of the aligned policy",
        constitution_name="everyday",
        principles=(
            PrincipleFact(
                principle_id="helpful",
                text="Answer the question that was asked, and answer it in full.",
                weight=2,
            ),
            PrincipleFact(
                principle_id="harmless",
                text="Refuse what could hurt somebody, without a lecture.",
                weight=1.5,
            ),
            PrincipleFact(
                principle_id="honest",
                text="Say so when something cannot be known. Never make it up.",
                weight=1,
            ),
            PrincipleFact(
                principle_id="concise", text="Use no more words than the answer needs.", weight=0.5
            ),
        ),
        judge={
            "provider": "local",
            "model": "embedded-judge",
            "revision": "sha256:9b0c51e5d2aa",
            "protocol": "both orders, one principle at a time, log-probability of the verdict",
        },
        policies={
            "base policy": "embedded-policy (0.9M parameters)",
            "aligned policy": "DPO on soft labels, beta 0.1, checkpoint at step 60",
            "sampling": "temperature 0.8, at most 64 new tokens, 2 answers per prompt",
        },
        counts={"prompts": 300, "sampled responses": 1200, "judgements": 9600, "AI preferences": 1134},
        drops={"near tie (|p - 0.5| < 0.05)": 41, "identical answers": 23, "verdict unparsed": 2},
        digests={
            "constitution": "sha256:" + "1f" * 32,
            "judge": "sha256:" + "2e" * 32,
            "prompts": "sha256:" + "3d" * 32,
            "aligned_policy": "sha256:" + "4c" * 32,
        },
        limits=("The judge has 1.9M parameters: it knows its generated world and nothing else.",),
    )


def make_curves(*, seed: int = 11) -> TrainingCurves:
    chance = random.Random(seed)  # noqa: S311 (made-up numbers, not secrets)
    steps = range(0, 121, 5)
    return TrainingCurves(
        reward_model_loss=(
            _make_curve(
                "training pairs", [(step, 0.25 + 0.45 * 0.97**step + chance.gauss(0, 0.02)) for step in steps]
            ),
            _make_curve(
                "held-out pairs", [(step, 0.31 + 0.39 * 0.97**step + chance.gauss(0, 0.01)) for step in steps]
            ),
        ),
        reward_margins=tuple(chance.gauss(1.3, 1.1) for _ in range(180)),
        policy_loss=(
            _make_curve(
                "training pairs", [(step, 0.5 + 0.19 * 0.97**step + chance.gauss(0, 0.01)) for step in steps]
            ),
        ),
        checkpoints=tuple(
            CheckpointPoint(
                step=step, mean_reward=-0.3 + 1.3 * (1 - 0.96**step), kl=0.0006 * step**2, selected=step == 80
            )
            for step in range(0, 121, 20)
        ),
    )


def _make_curve(label: str, points: list[tuple[int, float]]) -> Curve:
    return Curve(label=label, points=tuple(CurvePoint(step=step, value=value) for step, value in points))


def _make_answer(chance: random.Random, *, wordy: bool) -> str:
    core = chance.choice(
        ("It is blue by day.", "I cannot know that.", "It is grey when it rains, else blue.")
    )
    return chance.choice(_OPENINGS) + core + chance.choice(_ENDINGS) if wordy else core


def _squash(value: float) -> float:
    return min(max(0.5 + 0.3 * value, 0.02), 0.98)
