"""The planted judge has the faults that it was given, and what is built on it finds them."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.providers.planted import PlantedJudge, PlantedJudgeSettings
from rlaif_dagster.judging.questions import conclude, plan_questions
from rlaif_dagster.judging.templates import Template, load_template
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.preferences import PreferenceSettings, PreferencesResult, aggregate_verdicts
from rlaif_dagster.tables import read_table
from rlaif_dagster.world.ground_truth import WORDINGS
from tests.conftest import call_rlaif, edit_yaml, make_small, run_assets

NUM_PAIRS = 1200
ONE = Constitution(principles=(Principle(id="kind", text="Be kind.", weight=1.0),))
PAIRWISE = load_template("pairwise")
PROMPTS = {"p": "How are you?"}
TEXTS = {f"r{number:05}": f"Answer {number} {'so ' * (number % 7)}." for number in range(2 * NUM_PAIRS)}
PAIRS = [
    Pair.from_responses("p", *pair) for pair in zip(sorted(TEXTS)[::2], sorted(TEXTS)[1::2], strict=True)
]


def make_settings(**settings: Any) -> PlantedJudgeSettings:
    return PlantedJudgeSettings.model_validate({"provider": "planted", **settings})


def judge_pairs(constitution: Constitution = ONE, **settings: Any) -> list[Verdict]:
    """Every pair judged in both orders by each principle."""
    planted = make_settings(**settings)
    profile = JudgeProfile.from_settings(planted, PAIRWISE, model=None)
    judge = PlantedJudge(planted, PAIRWISE)
    return [
        conclude(question, profile, list(chain.from_iterable(judge.ask(question.calls))))
        for question in plan_questions(PAIRS, constitution, [profile], prompts=PROMPTS, texts=TEXTS)
    ]


def label(verdicts: Sequence[Verdict], constitution: Constitution = ONE) -> PreferencesResult:
    return aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=[{"prompt_id": "p", "prompt": PROMPTS["p"], "split": "train"}],
        responses=[
            {"response_id": name, "text": text, "finish_reason": None} for name, text in TEXTS.items()
        ],
        settings=PreferenceSettings(),
    )


def prefers_a(pair: Mapping[str, Any], principle: str = "Be kind.", **settings: Any) -> bool:
    """What was planted."""
    judge = PlantedJudge(make_settings(**settings), PAIRWISE)
    texts = {"principle": principle, "prompt": PROMPTS["p"]}
    first, second = TEXTS[pair["response_a"]], TEXTS[pair["response_b"]]
    return judge.prefers_first({**texts, "first": first, "second": second})


def assert_share(count: int, n: int, share: float) -> None:
    """A binomial count within four standard deviations."""
    assert abs(count - n * share) <= 4 * math.sqrt(n * share * (1 - share)) + 1e-9


def test_without_faults_the_verdicts_are_the_planted_preference_in_both_orders() -> None:
    for verdict in judge_pairs():
        pair = {"response_a": verdict.response_a, "response_b": verdict.response_b}
        assert verdict.probability_a == float(prefers_a(pair))


def test_the_latent_preference_has_no_side_and_each_principle_and_seed_has_its_own() -> None:
    for seed in (0, 1):
        wins = sum(
            prefers_a({"response_a": p.response_a, "response_b": p.response_b}, seed=seed) for p in PAIRS
        )
        assert_share(wins, NUM_PAIRS, 0.5)
    other = [
        prefers_a({"response_a": p.response_a, "response_b": p.response_b})
        != prefers_a({"response_a": p.response_a, "response_b": p.response_b}, "Be brief.")
        for p in PAIRS
    ]
    assert_share(sum(other), NUM_PAIRS, 0.5)


def test_failures_come_at_their_rate_and_say_why() -> None:
    verdicts = judge_pairs(failure_rate=0.1)
    failed = [verdict for verdict in verdicts if verdict.status == "failed"]
    assert_share(len(failed), len(verdicts), 0.1)
    assert {verdict.answers[0].reason for verdict in failed} == {"planted failure"}


@pytest.mark.parametrize("failure_rate", [0.0, 0.25])
def test_position_bias_names_the_first_at_its_rate(failure_rate: float) -> None:
    """Of two orders, the judge without bias names the first once: (1 - x) / 2 + x of all that did not fail."""
    told = [v for v in judge_pairs(position_bias=0.3, failure_rate=failure_rate) if v.verdict]
    assert_share(sum(v.verdict == "first" for v in told), len(told), 0.3 + 0.7 / 2)


def test_noise_names_the_worse_at_its_rate() -> None:
    verdicts = judge_pairs(noise=0.2)
    wrong = sum(
        v.probability_a != float(prefers_a({"response_a": v.response_a, "response_b": v.response_b}))
        for v in verdicts
    )
    assert_share(wrong, len(verdicts), 0.2)


def test_length_bias_names_the_longer_at_its_rate() -> None:
    """Where lengths differ: x, and half of the rest, as the latent quality knows no length."""
    lengths = {name: len(text) for name, text in TEXTS.items()}
    differ = [v for v in judge_pairs(length_bias=0.4) if lengths[v.response_a] != lengths[v.response_b]]
    longer = [(v.probability_a == 1.0) == (lengths[v.response_a] > lengths[v.response_b]) for v in differ]
    assert len(differ) > NUM_PAIRS
    # the two orders of a pair share its latent preference: as few draws as pairs
    assert abs(sum(longer) / len(longer) - 0.7) <= 4 * math.sqrt(0.7 * 0.3 / (len(longer) / 2))


def test_the_longer_answer_can_be_what_is_preferred() -> None:
    for verdict in judge_pairs(preference="longer"):
        a, b = len(TEXTS[verdict.response_a]), len(TEXTS[verdict.response_b])
        if a != b:
            assert verdict.probability_a == float(a > b)


def test_the_ground_truth_of_the_embedded_world_can_be_what_is_preferred() -> None:
    judge = PlantedJudge(make_settings(preference="embedded_world"), load_template("compact"))
    asked = {"principle": WORDINGS["concise"][0], "prompt": "When does the museum open?"}
    short, long = "It opens at nine.", "It opens at nine. I hope that this helps you."
    latent = judge.prefers_first({**asked, "first": short, "second": long})
    assert isinstance(latent, bool)  # texts that are not of the world leave it to the latent quality


def test_the_same_call_has_the_same_answer_and_a_repeat_its_own() -> None:
    judge = PlantedJudge(make_settings(noise=0.5), PAIRWISE)
    digest = JudgeProfile.from_settings(make_settings(), PAIRWISE, model=None).fingerprint
    texts = {"principle": "Be kind.", "prompt": "Hi", "first": "Yes.", "second": "No."}
    calls = [Call.from_texts(digest, texts, repeat) for repeat in range(50)]
    once, again = (
        list(chain.from_iterable(judge.ask(calls))),
        list(chain.from_iterable(judge.ask(reversed(calls)))),
    )
    assert once == again[::-1]
    assert len({answer.text for answer in once}) == 2


def test_its_words_are_the_templates_and_are_read_by_the_parser_that_reads_models() -> None:
    told = Template.from_json(
        {
            "messages": [{"role": "user", "content": "{{ principle }}{{ prompt }}{{ first }}{{ second }}"}],
            "verdicts": {"first": "left", "second": "right"},
            "verdict_line": "Better:",
        }
    )
    call = Call.from_texts(
        JudgeProfile.from_settings(make_settings(), told, model=None).fingerprint,
        {"principle": "Be kind.", "prompt": "Hi", "first": "Yes.", "second": "No."},
    )
    said: list[Reply] = list(
        chain.from_iterable(PlantedJudge(make_settings(position_bias=1.0), told).ask([call]))
    )
    assert said[0].text == "Better: left"
    said = list(chain.from_iterable(PlantedJudge(make_settings(position_bias=1.0), PAIRWISE).ask([call])))
    assert said[0].text == "A"


def test_a_template_that_rates_one_answer_is_refused() -> None:
    rating = Template.from_json(
        {
            "messages": [{"role": "user", "content": "{{ principle }}{{ prompt }}{{ answer }}"}],
            "ratings": {"lowest": 1, "highest": 10},
        }
    )
    with pytest.raises(ValueError, match="compares two answers"):
        PlantedJudge(make_settings(), rating)


def test_soft_labels_recover_the_planted_preference_through_bias_and_failures() -> None:
    """30 % position bias and 10 % failures, one principle; let a be the better answer of a pair.

    The order ab says a in any case: by its content or by its place. The order ba says a with 0.7, and b with 0.3, by
    place. So a pair that has both verdicts has p_a = 1 with 0.7 and p_a = 0.5 with 0.3: its label is never on the
    wrong side, and its mean is 0.85. Both verdicts are there with 0.9 ** 2 = 0.81; the other pairs are left out as
    `failed`, whoever is better.
    """
    result = label(judge_pairs(position_bias=0.3, failure_rate=0.1))
    assert_share(len(result.rows), NUM_PAIRS, 0.81)
    assert result.dropped["failed"] == NUM_PAIRS - len(result.rows) == sum(result.dropped.values())
    right = [row["p_a"] if prefers_a(row) else 1 - row["p_a"] for row in result.rows]
    assert Counter(right).keys() == {0.5, 1.0}
    assert_share(sum(p == 1.0 for p in right), len(right), 0.7)
    assert math.fsum(right) / len(right) == pytest.approx(
        0.85, abs=4 * math.sqrt(0.3 * 0.7) / 2 / math.sqrt(len(right))
    )
    assert result.second_second == 0
    assert_share(result.first_first, len(right), 0.3)


def test_several_principles_keep_their_shares_in_the_label() -> None:
    """E p_a = sum of weights x (0.85 where the principle prefers a, else 0.15) = 0.15 + 0.7 Q, with Q the weighted
    share of principles that prefer a: the label keeps the order of Q, and shrinks its distance from one half to 0.7.
    All four verdicts are there with 0.9 ** 4.
    """
    both = Constitution(
        principles=(
            Principle(id="brief", text="Be brief.", weight=1.0),
            Principle(id="kind", text="Be kind.", weight=3.0),
        )
    )
    result = label(judge_pairs(both, position_bias=0.3, failure_rate=0.1), both)
    assert_share(len(result.rows), NUM_PAIRS, 0.9**4)
    by_share: dict[float, list[float]] = {}
    for row in result.rows:
        share = 0.25 * prefers_a(row, "Be brief.") + 0.75 * prefers_a(row)
        by_share.setdefault(share, []).append(row["p_a"])
    assert sorted(by_share) == [0.0, 0.25, 0.75, 1.0]
    for share, labels in by_share.items():
        spread = math.sqrt((0.75**2 + 0.25**2) * 0.3 * 0.7) / 2
        assert math.fsum(labels) / len(labels) == pytest.approx(
            0.15 + 0.7 * share, abs=4 * spread / math.sqrt(len(labels))
        )


@pytest.mark.slow
def test_judge_audit_recovers_the_planted_bias(tmp_path: Path) -> None:
    """The command, on the verdicts as a file: the bias, the failures and the accuracy lie within their intervals.

    Accuracy counts a failed verdict as not right: 0.9 x (0.7 + 0.3 / 2) = 0.765.
    """
    lines = [
        {
            "pair_id": verdict.pair_id,
            "judge": verdict.judge,
            "order": verdict.order,
            "verdict": verdict.verdict,
            "status": verdict.status,
            "ground_truth": "a"
            if prefers_a({"response_a": verdict.response_a, "response_b": verdict.response_b})
            else "b",
        }
        for verdict in judge_pairs(position_bias=0.3, failure_rate=0.1)
    ]
    file = tmp_path / "verdicts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = call_rlaif("judge-audit", str(file), "--json", project=tmp_path)
    figures = json.loads(done.stdout.splitlines()[-1])["judges"]["planted"]
    for name, truth in {
        "position_bias": 0.3,
        "failed": 0.1,
        "accuracy": 0.765,
        "order_agreement": 0.7,
    }.items():
        assert figures[name]["low"] <= truth <= figures[name]["high"], name
    assert figures["position_bias"]["high"] - figures["position_bias"]["low"] < 0.08
    assert figures["second_second"]["value"] == 0


@pytest.mark.slow
def test_the_whole_chain_up_to_the_labels_on_a_planted_judge(default_project: Path) -> None:
    """A real project: every label that there is lies on the planted side or in the middle."""
    make_small(default_project)
    settings = {"position_bias": 0.3, "failure_rate": 0.1}
    (default_project / "inputs" / "judge.yaml").write_text(
        json.dumps({"provider": "planted", "protocol": "joint", "gates": {"min_coverage": 0.8}, **settings})
    )
    edit_yaml(
        default_project / "inputs" / "constitution.yaml",
        lambda value: value.update(principles=[{"id": "kind", "text": "Be kind."}]),
    )
    assets = run_assets("ai_preferences", project=default_project)
    rows = read_table(default_project / "data" / "ai_preferences" / "preferences.parquet")
    summary = json.loads((default_project / "data" / "ai_preferences" / "summary.json").read_text())
    judge = PlantedJudge(make_settings(**settings), PAIRWISE)
    rule = Constitution(principles=(Principle(id="kind", text="Be kind.", weight=1.0),)).joint_text
    right = []
    for row in rows:
        better_a = judge.prefers_first(
            {"principle": rule, "prompt": row["prompt"], "first": row["text_a"], "second": row["text_b"]}
        )
        right.append(row["p_a"] if better_a else 1 - row["p_a"])
    assert set(right) == {0.5, 1.0}
    assert assets["ai_preferences"]["rows"] == len(right) > 100
    assert_share(sum(p == 1.0 for p in right), len(right), 0.7)
    assert_share(len(right), summary["num_pairs"], 0.81)
