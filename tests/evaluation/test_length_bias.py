"""A judge that likes long answers is exposed, by the length-controlled win rate and by the judge's audit."""

import random
from collections.abc import Mapping

from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.sources import SourceWinRate, summarise_source
from rlaif_dagster.judge_quality.bias import measure_length_preference
from rlaif_dagster.judge_quality.figures import Figure
from rlaif_dagster.judge_quality.rows import JudgedRow, PairFacts
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.providers.planted import PlantedJudge, PlantedJudgeSettings
from rlaif_dagster.judging.questions import conclude, plan_questions
from rlaif_dagster.judging.templates import load_template

NUM_PROMPTS = 200
ONE = Constitution(principles=(Principle(id="kind", text="Be kind.", weight=1.0),))
TEMPLATE = load_template("pairwise")


def make_answers() -> list[tuple[str, str]]:
    """Base and aligned answers whose worth has nothing to do with who gave them: aligned ones are only longer."""
    chance = random.Random(9)  # noqa: S311 (made-up answers)
    return [
        (f"Base {number}{', so' * chance.randint(0, 8)}.", f"Ours {number}{', so' * chance.randint(4, 12)}.")
        for number in range(NUM_PROMPTS)
    ]


def judge_answers(**settings: float | str) -> tuple[SourceWinRate, Mapping[str, Figure]]:
    """A planted judge's win rate, and its audit; the ground truth is what it would say on quality alone."""
    judge = PlantedJudgeSettings.model_validate({"provider": "planted", **settings})
    fair = PlantedJudge(PlantedJudgeSettings(provider="planted"), TEMPLATE)
    profile = JudgeProfile.from_settings(judge, TEMPLATE, model=None)
    planted = PlantedJudge(judge, TEMPLATE)
    comparisons, rows = [], []
    for number, (base, aligned) in enumerate(make_answers()):
        pair = Pair.from_responses(f"p{number}", "aligned", "base")
        questions = plan_questions(
            [pair], ONE, [profile], prompts={pair.prompt_id: "Why?"}, texts={"aligned": aligned, "base": base}
        )
        is_better = fair.prefers_first(
            {"principle": "Be kind.", "prompt": "Why?", "first": aligned, "second": base}
        )
        facts = PairFacts(
            pair_id=pair.pair_id,
            prompt_id=pair.prompt_id,
            ground_truth="a" if is_better else "b",
            len_a=len(aligned),
            len_b=len(base),
        )
        verdicts = [
            conclude(question, profile, [answer for batch in planted.ask(question.calls) for answer in batch])
            for question in questions
        ]
        chances = [verdict.probability_a for verdict in verdicts]
        comparisons.append(
            Comparison(
                prompt_id=pair.prompt_id,
                prompt="Why?",
                base_text=base,
                aligned_text=aligned,
                p_judge=sum(chance for chance in chances if chance is not None) / len(chances),
                ground_truth=float(is_better),
            )
        )
        rows += [
            JudgedRow(
                pair=facts,
                judge="planted",
                order=verdict.order,
                verdict=verdict.verdict,
                p_first=verdict.p_first,
            )
            for verdict in verdicts
        ]
    found = summarise_source(comparisons, "judge", 0.95)
    assert found is not None
    return found, measure_length_preference(rows)


def test_a_judge_that_goes_by_length_is_exposed_by_both() -> None:
    """It takes the longer answer in 70 % of its calls, and the better one else; the answers are equally good."""
    found, audit = judge_answers(length_bias=0.7)
    assert found.win_rate.is_above(0.6)
    assert found.length_control is not None
    assert found.length_control.win_rate.low is not None
    assert found.length_control.win_rate.low < 0.5
    assert found.length_control.length_effect.is_above(0.0)
    assert (audit["prefers_longer_ground_truth_fixed"].low or 0.0) > 0.5


def test_a_fair_judge_is_not_accused() -> None:
    found, audit = judge_answers()
    assert found.length_control is not None
    assert not found.length_control.length_effect.is_above(0.0)
    fixed = audit["prefers_longer_ground_truth_fixed"]
    assert fixed.value is not None
    assert fixed.low is not None
    assert fixed.low <= 0.5
