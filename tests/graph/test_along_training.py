"""The answers at checkpoints, as the evaluation takes them up: pairs, the ground truth, the plan, and the check."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.evaluation.along_training import AlongTraining, ScoredAnswer, trace_along_training
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.graph.along_training import (
    CheckpointAnswers,
    trace_checkpoints,
)
from rlaif_dagster.graph.evaluation_checks import ask_for, make_evaluation_checks
from rlaif_dagster.graph.held_out import EvaluationSpec, HeldOutVerdicts, pair_answers
from rlaif_dagster.graph.price import Foreseen, PriceContext
from rlaif_dagster.graph.pricing import price_evaluation
from rlaif_dagster.graph.release import build_released_policy
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.inputs.release import ReleaseSettings
from rlaif_dagster.names import CHECKPOINTS_TABLE, METRICS_JSON, PROMPTS_TABLE, TRAINING_JSON
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.prompts import Prompt, prompts_schema
from rlaif_dagster.tables import read_table, write_table
from rlaif_dagster.training.results import (
    CheckpointAnswer,
    PolicyCheckpoint,
    checkpoints_schema,
    tabulate_checkpoints,
)

PROMPT = "How do I make tea?"
RIGHT = "To make tea, boil water, warm the pot and add the leaves."
WRONG = "To make tea, dig a hole, set the roots and fill in the soil."
PROMPTS = tuple(
    Prompt(prompt_id=name, prompt=text, category=None, split="train")
    for name, text in (("p", PROMPT), ("q", f"Hi! {PROMPT}"))
)
TEXTS = {0: ("red.", "blue."), 5: ("red.", "green."), 10: ("long.", "green.")}


@pytest.fixture(scope="module")
def inputs() -> ProjectInputs:
    return ProjectInputs.read(TEMPLATE_ROOT)


def set_evaluation(inputs: ProjectInputs, **update: Any) -> ProjectInputs:
    """The inputs with another evaluation."""
    evaluation = inputs.pipeline.evaluation.model_copy(update=update)
    return replace(inputs, pipeline=inputs.pipeline.model_copy(update={"evaluation": evaluation}))


def write_policy(
    folder: Path, texts: dict[int, tuple[str, ...]] | None = None, *, num_prompts: int = 1
) -> Path:
    """What an aligned policy tells of its training: two answers to one prompt at each checkpoint; step 5 was kept."""
    prompts = PROMPTS[:num_prompts]
    folder.mkdir(exist_ok=True)
    checkpoints = [
        PolicyCheckpoint(
            step=step,
            mean_reward=0.0,
            kl_k1=0.0,
            kl_k3=0.0,
            mean_num_tokens=1.0,
            answers=tuple(
                CheckpointAnswer(
                    prompt=prompt.prompt,
                    index=index,
                    text=text,
                    num_tokens=1,
                    finish_reason="stop",
                    reward=step / 10,
                    kl=step / 100,
                )
                for prompt in prompts
                for index, text in enumerate(said)
            ),
        )
        for step, said in (texts or TEXTS).items()
    ]
    write_table(
        folder / CHECKPOINTS_TABLE,
        tabulate_checkpoints(checkpoints, {prompt.prompt: prompt.prompt_id for prompt in prompts}),
        checkpoints_schema(),
    )
    selected = [{"step": step, "selected": step == 5} for step in texts or TEXTS]
    (folder / TRAINING_JSON).write_bytes(canonical_json({"checkpoints": selected}))
    return folder


def read_answers(policy: Path, prompts: Sequence[Prompt] = PROMPTS) -> CheckpointAnswers:
    """The answers of a policy that has some."""
    answers = CheckpointAnswers.read(policy, prompts)
    assert answers is not None
    return answers


def test_a_policy_holds_no_prompts(tmp_path: Path) -> None:
    """A release is given away: its answers at checkpoints name the prompts by their ids."""
    policy = write_policy(tmp_path / "policy")
    assert not any(PROMPT in row.values() for row in read_table(policy / CHECKPOINTS_TABLE))


def test_of_a_prompt_that_is_no_more_nobody_is_asked_and_its_answers_are_left_out(
    inputs: ProjectInputs, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path / "policy", {0: (WRONG,), 5: (RIGHT,), 10: (WRONG,)}, num_prompts=2)
    answers = read_answers(policy, PROMPTS[:1])
    assert {pair.prompt_id for pair in answers.list_pairs()} == {"p"}
    [curve] = trace_checkpoints(answers, inputs.constitution, {}, EvaluationSpec.from_inputs(inputs))
    assert curve.num_left_out == 1
    assert [point.win_rate.n for point in curve.points] == [1, 1, 1]
    assert read_answers(policy).list_pairs() == [
        *answers.list_pairs(),
        *read_answers(policy, PROMPTS[1:]).list_pairs(),
    ]
    none_left = read_answers(policy, [])
    assert none_left.list_pairs() == []
    assert trace_checkpoints(none_left, inputs.constitution, {}, EvaluationSpec.from_inputs(inputs)) == ()


def test_a_policy_of_earlier_code_has_no_curve(tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "policy")
    (policy / CHECKPOINTS_TABLE).unlink()
    assert CheckpointAnswers.read(policy, PROMPTS) is None


def test_each_answer_is_held_against_that_of_step_0_and_asked_about_once(tmp_path: Path) -> None:
    """Six answers: two are of step 0, one is the same as there, and "green." stands against "blue." twice."""
    answers = read_answers(write_policy(tmp_path / "policy"))
    assert answers.kept_step == 5
    found = [(one["step"], one["text"], other["text"]) for one, other in answers.compare()]
    assert found == [
        (0, "red.", "red."),
        (0, "blue.", "blue."),
        (5, "red.", "red."),
        (5, "green.", "blue."),
        (10, "long.", "red."),
        (10, "green.", "blue."),
    ]
    pairs = [pair_answers(one, other) for one, other in answers.compare()]
    assert [pair is None for pair in pairs] == [True, True, True, False, False, False]
    assert pairs[3] == pairs[5]
    assert answers.list_pairs() == [pairs[3], pairs[4]]


def test_a_judges_word_is_turned_to_the_answer_it_is_about(inputs: ProjectInputs, tmp_path: Path) -> None:
    """The judge prefers "green." to "blue.", and "red." to "long."."""
    answers = read_answers(write_policy(tmp_path / "policy"))
    better = {row["response_id"] for row in answers.rows if row["text"] in ("green.", "red.")}
    by_pair = {
        pair.pair_id: {"response_a": pair.response_a, "p_a": 0.9 if pair.response_a in better else 0.1}
        for pair in answers.list_pairs()
    }
    asked = set_evaluation(inputs, ground_truth=None, judge_checkpoints=True)
    assert EvaluationSpec.from_inputs(asked).checkpoint_judge == "judge"
    [curve] = trace_checkpoints(
        answers,
        asked.constitution,
        {"judge": HeldOutVerdicts(by_pair=by_pair)},
        EvaluationSpec.from_inputs(asked),
    )
    assert curve.scorer == "judge"
    assert [point.win_rate.value for point in curve.points] == [0.5, 0.75, 0.5]
    assert [point.reward.value for point in curve.points] == [0.0, 0.5, 1.0]
    assert curve.kept.step == curve.best_step == 5
    [one_silent] = trace_checkpoints(
        answers,
        asked.constitution,
        {"judge": HeldOutVerdicts(by_pair=dict(list(by_pair.items())[:1]))},
        EvaluationSpec.from_inputs(asked),
    )
    assert one_silent.num_left_out == 1


def test_the_ground_truth_is_asked_wherever_it_is_and_a_judge_only_where_a_person_says_so(
    inputs: ProjectInputs, tmp_path: Path
) -> None:
    answers = read_answers(write_policy(tmp_path / "policy", {0: (WRONG,), 5: (RIGHT,), 10: (WRONG,)}))
    assert EvaluationSpec.from_inputs(inputs).checkpoint_judge is None
    [curve] = trace_checkpoints(answers, inputs.constitution, {}, EvaluationSpec.from_inputs(inputs))
    assert curve.scorer == "ground_truth"
    assert [point.win_rate.value for point in curve.points] == [0.5, 1.0, 0.5]
    without = set_evaluation(inputs, ground_truth=None)
    assert trace_checkpoints(answers, without.constitution, {}, EvaluationSpec.from_inputs(without)) == ()


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_plan_counts_the_calls_once_there_is_a_table_and_says_that_it_cannot_before(
    at_hand: bool, inputs: ProjectInputs, tmp_path: Path
) -> None:
    asked = set_evaluation(inputs, judge_checkpoints=True, best_of=None)
    policy = write_policy(tmp_path / "policy")
    if not at_hand:  # as earlier code made them
        (policy / CHECKPOINTS_TABLE).unlink()
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    row = {"prompt_id": "p", "prompt": PROMPT, "category": None, "split": "train"}
    write_table(prompts / PROMPTS_TABLE, [row], prompts_schema())

    def reckon(inputs: ProjectInputs) -> tuple[float, float | None]:
        price = price_evaluation(
            inputs,
            PriceContext(
                inputs={name: Foreseen() for name in ("judge", "base_policy")}
                | {
                    "prompts": Foreseen(open=lambda: prompts),
                    "aligned_policy": Foreseen(open=lambda: policy),
                },
                head=lambda: None,
                journal=tmp_path / "journal",
                earlier_versions=NoHistory().earlier_versions,
                counts=None,
            ),
        )
        return price.judge_calls.min, price.judge_calls.max

    num_calls = 2 * len(inputs.constitution.principles) * 2  # pairs, principles, orders
    assert reckon(asked) == ((num_calls, num_calls) if at_hand else (0, None))
    assert reckon(set_evaluation(inputs, best_of=None)) == (0, 0)


@pytest.mark.parametrize(("kept_step", "passed"), [(10, True), (20, False)])
def test_the_check_looks_at_the_checkpoint_that_was_kept(
    kept_step: int, passed: bool, inputs: ProjectInputs, tmp_path: Path
) -> None:
    """The win rate falls from 1 to 0 after step 10, as the reward rises: a policy of step 10 is none the worse."""
    write_metrics(tmp_path, trace(kept_step, {0: 0.5, 10: 1.0, 20: 0.0}))
    [check] = [
        c
        for c in make_evaluation_checks(ask_for(inputs.pipeline.evaluation))
        if c.name == "not_over_optimised"
    ]
    assert not check.blocking
    result = check.run(tmp_path, {})
    assert result.passed is passed
    facts = result.facts["ground_truth"]
    assert isinstance(facts, dict)
    assert (facts["best_step"], facts["kept_step"], facts["apart"]) == (10, kept_step, [20])


@pytest.mark.parametrize(
    ("measured_by", "passed"),
    [({}, True), ({"ground_truth": "embedded_world"}, False), ({"judge_checkpoints": True}, False)],
)
def test_what_was_to_be_measured_and_was_not_does_not_pass(
    measured_by: dict[str, Any], passed: bool, inputs: ProjectInputs, tmp_path: Path
) -> None:
    write_metrics(tmp_path)
    settings = inputs.pipeline.evaluation.model_copy(update={"ground_truth": None} | measured_by)
    [check] = [c for c in make_evaluation_checks(ask_for(settings)) if c.name == "not_over_optimised"]
    result = check.run(tmp_path, {})
    assert result.passed is passed
    assert "was not measured" in str(result.facts["why"])


def test_a_release_cannot_require_what_nothing_measures(inputs: ProjectInputs) -> None:
    def require(inputs: ProjectInputs) -> ProjectInputs:
        release = ReleaseSettings(require=["not_over_optimised"])
        return replace(inputs, pipeline=inputs.pipeline.model_copy(update={"release": release}))

    with pytest.raises(InputError, match=r"not_over_optimised.* is not measured.*\n.*judge_checkpoints"):
        build_released_policy(require(set_evaluation(inputs, ground_truth=None)))
    build_released_policy(require(inputs))
    build_released_policy(require(set_evaluation(inputs, ground_truth=None, judge_checkpoints=True)))


def trace(kept_step: int, outcomes: dict[int, float]) -> AlongTraining:
    curve = trace_along_training(
        [
            ScoredAnswer(
                step=step, prompt_id=f"p{number}", index=0, reward=step / 10, kl=step / 10, outcome=outcome
            )
            for step, outcome in outcomes.items()
            for number in range(12)
        ],
        scorer="ground_truth",
        kept_step=kept_step,
    )
    assert curve is not None
    return curve


def write_metrics(folder: Path, *curves: AlongTraining) -> None:
    metrics = EvaluationMetrics(
        confidence=0.95,
        num_prompts=1,
        num_comparisons=1,
        num_identical=0,
        num_unjudged=0,
        along_training=curves,
    )
    (folder / METRICS_JSON).write_bytes(canonical_json(metrics.to_json()))
    assert EvaluationMetrics.from_json((folder / METRICS_JSON).read_bytes()) == metrics
