"""Rounds in the graph: names, reuse, stops, the plan, and the release."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from rlaif_dagster.errors import GateError, InputError
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.plateau import read_plateau
from rlaif_dagster.graph.release import read_release
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.auditing.audit import audit_project
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult
from rlaif_dagster.lineage.time_travel import checkout_version
from rlaif_dagster.lineage.tracing.trace import trace_subject
from rlaif_dagster.names import CARD_FILE, STOPPED_JSON
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.graph.planted_project import make_planted, write_judge, write_lines
from tests.rounds.toy_rounds import World, build_toy_graph, make_rounds, run_toy, run_toy_to

STAGES = (
    "sampled_responses",
    "judgements",
    "judge_audit",
    "ai_preferences",
    "reward_model",
    "aligned_policy",
)
GAINING = World()
"""A policy that gains in the first round and in the second, and no more."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, MaterialiseResult]]:
    """A project of four rounds, of which three were made."""
    from rlaif_dagster.cli.init import init_command

    folder = tmp_path_factory.mktemp("rounds") / "project"
    init_command(folder)
    make_rounds(folder, rounds=4)
    return folder, run_toy(folder, GAINING)


def list_made(outcomes: dict[str, MaterialiseResult], number: int) -> set[bool]:
    prefix = "" if number == 1 else f"round_{number}/"
    return {not outcomes[f"{prefix}{name}"].record.is_stopped for name in (*STAGES, "evaluation", "plateau")}


def test_one_round_is_the_graph_without_rounds(default_project: Path) -> None:
    graph = build_graph(Project.open(default_project).read_inputs())
    assert not any("/" in name or name == "plateau" for name in graph)
    assert graph["released_policy"].inputs == ("evaluation",)
    assert all(stage.computing.kin == () for stage in graph.values())


def test_each_round_goes_on_from_the_policy_of_the_one_before(default_project: Path) -> None:
    make_rounds(default_project, rounds=3)
    graph = build_graph(Project.open(default_project).read_inputs())
    assert graph["round_3/sampled_responses"].inputs == (
        "prompts",
        "round_2/aligned_policy",
        "round_2/plateau",
    )
    assert graph["round_2/aligned_policy"].inputs == (
        "round_2/ai_preferences",
        "aligned_policy",
        "round_2/reward_model",
    )
    assert "base_policy" in graph["round_3/evaluation"].inputs
    assert graph["round_2/ai_preferences"].inputs[-2:] == ("round_2/judge_audit", "judge_canary")
    assert graph["released_policy"].inputs == ("evaluation", "round_2/evaluation", "round_3/evaluation")
    names = list(graph)
    assert all(names.index(name) < names.index(child) for child in graph for name in graph[child].inputs)


@pytest.mark.slow
def test_rounds_stop_where_the_gain_does_and_say_why(
    stopped: tuple[Path, dict[str, MaterialiseResult]],
) -> None:
    folder, outcomes = stopped
    assert [list_made(outcomes, number) for number in (1, 2, 3, 4)] == [{True}, {True}, {True}, {False}]
    *before, last = read_plateau(folder / "data" / "round_3" / "plateau")
    assert [round_["reasons"] for round_ in before] == [[], []]
    (reason,) = last["reasons"]
    assert reason.startswith("gain over the round before 0.000 (-")
    assert reason.endswith("must be above 0")
    record = outcomes["round_4/aligned_policy"].record
    assert [file.path for file in record.output.files] == [STOPPED_JSON]
    assert "gain over the round before" in record.metrics["stopped"]
    (check,) = outcomes["round_3/plateau"].record.checks
    assert not check.passed
    assert not check.blocking
    assert "Stopped after round 3" in (folder / "data" / "round_3" / "plateau" / "report.html").read_text()


@pytest.mark.slow
def test_the_best_round_is_released_and_not_the_last(
    stopped: tuple[Path, dict[str, MaterialiseResult]],
) -> None:
    folder, outcomes = stopped
    release = read_release(folder / "data" / "released_policy")
    assert release["asset"] == "round_2/aligned_policy"
    assert release["policy"] == outcomes["round_2/aligned_policy"].record.output.digest
    assert "round 2 has the best win rate" in release["reason"]
    assert [bool(round_["left_out"]) for round_ in release["rounds"]] == [False, False, False, True]


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_all_is_in_order(
    stopped: tuple[Path, dict[str, MaterialiseResult]],
) -> None:
    folder, _ = stopped
    project = Project.open(folder)
    assert make_plan(project, build_toy_graph(project, GAINING)).stale == ()
    assert {outcome.status for outcome in run_toy(folder, GAINING).values()} == {"reused"}
    assert audit_project(project, target=None, events=None, progress=ignore_progress).findings == ()


@pytest.mark.slow
def test_a_question_that_an_earlier_round_asked_is_not_asked_again(
    stopped: tuple[Path, dict[str, MaterialiseResult]],
) -> None:
    """Answers say "indeed" 0, 1, 2 times in the first round, and 0, 2, 4 times in the second: (0, 2) is known.

    That is one pair in three of 60 prompts, in two orders.
    """
    _, outcomes = stopped
    counts = outcomes["round_2/judgements"].record.counts
    assert counts["judge_calls_reused"] == 2 * 60
    assert counts["judge_calls_asked"] == 2 * 2 * 60


@pytest.mark.slow
def test_names_with_a_slash_can_be_traced_and_checked_out(
    stopped: tuple[Path, dict[str, MaterialiseResult]], tmp_path: Path
) -> None:
    folder, outcomes = stopped
    project = Project.open(folder)
    digest = outcomes["round_2/judgements"].record.output.digest.removeprefix("sha256:")
    checkout_version(project, f"round_2/judgements@{digest[:12]}", tmp_path / "version")
    from rlaif_dagster.tables import read_table

    known = {row["pair_id"] for row in read_table(folder / "data" / "judgements" / "judgements.parquet")}
    rows = read_table(tmp_path / "version" / "judgements.parquet")
    pair_id = next(row["pair_id"] for row in rows if row["pair_id"] not in known)
    trace = trace_subject(project, f"pair:{pair_id}")
    assert "round_2/judgements" in {step.asset for step in trace.made_from}
    assert "round_2/aligned_policy" in {step.asset for step in trace.went_into}
    assert set(trace_subject(project, "principle:kind").facts) >= {"verdicts", "round 2", "round 3"}


@pytest.mark.slow
def test_a_card_names_the_asset_of_its_own_round(stopped: tuple[Path, dict[str, MaterialiseResult]]) -> None:
    folder, _ = stopped
    card = (folder / "data" / "round_2" / "ai_preferences" / CARD_FILE).read_text()
    assert "# round_2/ai_preferences" in card.splitlines()


WEAK = "judge right more often than the policy that it judged, by 0.020 (-0.080 to 0.120), must be above 0"


@pytest.mark.slow
def test_a_judge_no_stronger_than_the_policy_stops_before_training(default_project: Path) -> None:
    """The judge's points are the policy's, give or take 0.1; who lets it pass has one round."""
    make_rounds(default_project, rounds=3)
    with pytest.raises(GateError, match=re.escape(WEAK)):
        run_toy(default_project, World(strength={0: 0.02}))
    head = Project.open(default_project).ledger.find_head("ai_preferences")
    assert head is not None
    override = Override(
        asset="ai_preferences", digest=head.output.digest, check="round_pays", reason="a first look"
    )
    outcomes = run_toy(default_project, World(strength={0: 0.02}), overrides=(override,))
    assert [list_made(outcomes, number) for number in (1, 2, 3)] == [{True}, {False}, {False}]
    assert outcomes["plateau"].record.metrics["stopped"] == WEAK
    assert outcomes["released_policy"].record.metrics["round"] == 1


@pytest.mark.slow
def test_a_policy_as_strong_as_its_judge_is_not_trained_further(default_project: Path) -> None:
    make_rounds(default_project, rounds=3)
    outcomes = run_toy(default_project, World(strength={1: 0.02}))
    made = {name for name, outcome in outcomes.items() if not outcome.record.is_stopped}
    assert {name for name in made if "/" in name} == {f"round_2/{name}" for name in STAGES[:4]}
    stopped = outcomes["round_2/reward_model"].record.metrics["stopped"]
    assert stopped == f"round_2/ai_preferences: round_pays failed, {WEAK}"
    assert outcomes["released_policy"].record.metrics["round"] == 1


@pytest.mark.slow
def test_a_judge_that_parts_no_answers_stops_before_training(default_project: Path) -> None:
    """It takes the first answer in both orders: in their mean it prefers nothing."""
    make_rounds(default_project, rounds=2)
    write_judge(default_project, preference="longer", position_bias=1.0, gates={"min_order_agreement": None})
    with pytest.raises(GateError, match=r"chosen-rejected gap 0\.000 .* must be above 0\.05"):
        run_toy(default_project, World())


def test_the_reference_policy_is_that_of_the_round_before_or_the_first(default_project: Path) -> None:
    """Another reference policy is another input, so the first round is what it was."""
    make_rounds(default_project, rounds=3)
    graphs = {}
    for reference in ("previous", "base"):
        file = default_project / "inputs" / "pipeline.yaml"
        pipeline = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(pipeline | {"policy": pipeline["policy"] | {"reference": reference}}))
        graphs[reference] = build_graph(Project.open(default_project).read_inputs())
    name = "round_3/aligned_policy"
    assert graphs["base"][name].inputs == (*graphs["previous"][name].inputs, "base_policy")
    for part in ("inputs", "settings"):
        one, other = (getattr(graph["aligned_policy"].identity, part) for graph in graphs.values())
        assert one == other


@pytest.mark.slow
def test_a_plan_names_the_reference_policy_that_was_changed(
    stopped: tuple[Path, dict[str, MaterialiseResult]], tmp_path: Path
) -> None:
    """Another input alone would have no cause that a person could find."""
    folder = Path(shutil.copytree(stopped[0], tmp_path / "project"))
    edit_yaml(folder / "inputs" / "pipeline.yaml", lambda p: p["policy"].update(reference="base"))
    project = Project.open(folder)
    plan = make_plan(project, build_toy_graph(project, GAINING))
    causes = {item.asset: [(c.path, c.old, c.new) for c in item.causes] for item in plan.assets}
    assert causes["round_2/aligned_policy"] == [("inputs/pipeline.yaml: policy.reference", None, "base")]
    assert causes["aligned_policy"] == []


@pytest.mark.slow
def test_a_gate_of_a_later_round_stops_the_rounds_and_not_the_run(default_project: Path) -> None:
    make_rounds(default_project, rounds=3)
    outcomes = run_toy(default_project, World(accuracy={1: 0.45}))
    made = {name for name, outcome in outcomes.items() if not outcome.record.is_stopped}
    assert {name for name in made if "/" in name} == {f"round_2/{name}" for name in STAGES[:5]}
    assert "accuracy_over_chance failed" in outcomes["round_2/aligned_policy"].record.metrics["stopped"]
    assert outcomes["released_policy"].record.metrics["round"] == 1


@pytest.mark.slow
def test_the_plan_knows_what_a_stop_spares(default_project: Path) -> None:
    """Before the first run a later round may cost nothing; after a stop it does; with other thresholds it may not."""
    make_rounds(default_project, rounds=2)
    project = Project.open(default_project)
    world = World(wins={1: 0.02})
    sampled = "round_2/sampled_responses"
    prices = {
        item.asset: item.price for item in make_plan(project, build_graph(project.read_inputs())).assets
    }
    assert (prices["sampled_responses"].rows_sampled.min, prices[sampled].rows_sampled.min) == (480, 0)
    assert prices[sampled].rows_sampled.max == 480
    run_toy(default_project, world)
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(plateau={"max_length_growth": 3.0}),
    )
    plan = make_plan(project, build_toy_graph(project, world))
    statuses = {item.asset: item.status for item in plan.stale}
    assert statuses == {"plateau": "computed", sampled: "stopped", "round_2/plateau": "stopped"}
    assert plan.price.rows_sampled.max == 0
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(plateau={"min_gain": -1.0}),
    )
    plan = make_plan(project, build_toy_graph(project, world))
    assert "round_2/aligned_policy" in {item.asset for item in plan.stale}
    assert list_made(run_toy(default_project, world), 2) == {True}


@pytest.mark.slow
def test_labels_of_people_name_responses_of_the_first_round_in_every_round(default_project: Path) -> None:
    make_rounds(default_project, rounds=2)
    prompt_ids = [
        row["prompt_id"] for row in run_toy_to(default_project, "sampled_responses", "responses.parquet")
    ]
    write_lines(
        default_project / "inputs" / "labels.jsonl",
        [
            {
                "prompt_id": prompt_id,
                "response_a": f"{prompt_id[:12]}00",
                "response_b": f"{prompt_id[:12]}02",
                "label": "a",
            }
            for prompt_id in sorted(set(prompt_ids))[:5]
        ],
    )
    write_judge(default_project, preference="longer", human_labels="inputs/labels.jsonl")
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(preferences={"human_weight": 1.0}),
    )
    outcomes = run_toy(default_project, GAINING)
    counts = [outcomes[name].record.counts for name in ("ai_preferences", "round_2/ai_preferences")]
    assert [count["num_human_labels"] for count in counts] == [5, 0]
    assert counts[1]["num_human_labels_unused"] == 5


def test_recorded_responses_have_one_round(default_project: Path) -> None:
    make_planted(default_project)
    edit_yaml(default_project / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(rounds=2))
    with pytest.raises(InputError, match="rounds"):
        Project.open(default_project).read_inputs()
