"""The judge's audit through real projects, on a judge whose preference and faults are known."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import GateError, InputError
from rlaif_dagster.graph.judge_gates import GATES, read_judge_audit
from rlaif_dagster.judge_quality.plots import JUDGE_PLOTS
from rlaif_dagster.judge_quality.probe import ATTACKS, CONTROL, HARMLESS, NULL, NUM_PROBES
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.tables import read_table
from tests.graph.planted_project import make_judge, make_planted, run_to, write_judge, write_lines


def read_figures(project: Path) -> dict[str, Any]:
    return read_judge_audit(project / "data" / "judge_audit")


def find_check(record: MaterialisationRecord, name: str) -> Any:
    (check,) = [check for check in record.checks if check.name == name]
    return check


def covers(figure: dict[str, Any], truth: float) -> bool:
    return bool(figure["low"] <= truth <= figure["high"])


def label_by_preference(project: Path, **judge: Any) -> list[dict[str, Any]]:
    """Human labels that say what a planted judge prefers by one principle, on every second pair."""
    prompts = {
        row["prompt_id"]: row["prompt"] for row in read_table(project / "data/prompts/prompts.parquet")
    }
    rows = {r["response_id"]: r for r in read_table(project / "data/sampled_responses/responses.parquet")}
    planted = make_judge(**judge)
    lines = []
    pairs = {
        (v["prompt_id"], v["response_a"], v["response_b"])
        for v in read_table(project / "data/judgements/judgements.parquet")
    }
    for prompt_id, a, b in sorted(pairs)[::2]:
        texts = {"first": rows[a]["text"], "second": rows[b]["text"], "prompt": prompts[prompt_id]}
        better_a = planted.prefers_first({**texts, "principle": ""})
        lines.append(
            {"prompt_id": prompt_id, "response_a": a, "response_b": b, "label": "a" if better_a else "b"}
        )
    return lines


def test_the_audit_finds_what_was_planted(default_project: Path) -> None:
    make_planted(default_project, position_bias=0.3, failure_rate=0.05, gates={"min_coverage": 0.8})
    heads = run_to(default_project, "ai_preferences")
    audit = read_figures(default_project)
    figures = audit["verdicts"]["judges"]["planted"]
    assert covers(figures["position_bias"], 0.3)
    assert covers(figures["failed"], 0.05)
    assert figures["pairs"]["value"] == 2 * 24 * 6  # a pair by each of two principles
    assert figures["accuracy"]["value"] is None
    assert set(audit["principles"]) == {"kind", "brief"}
    for principle in audit["principles"].values():
        figure = principle["judges"]["planted"]["position_bias"]
        assert figure["value"] == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / figure["n"]))
    assert audit["labels"]["judges"]["planted"]["pairs"]["value"] == heads["ai_preferences"].rows
    plots = {path.stem for path in (default_project / "data" / "judge_audit" / "plots").iterdir()}
    assert plots == set(JUDGE_PLOTS)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, default_project: Path) -> None:
    from rlaif_dagster.cli.init import init_command

    other = tmp_path / "other"
    init_command(other)
    digests = []
    for project in (default_project, other):
        make_planted(project, noise=0.1)
        digests.append(run_to(project, "judge_audit", "judge_canary"))
    assert digests[0]["judge_audit"].output.digest == digests[1]["judge_audit"].output.digest
    assert digests[0]["judge_canary"].output.digest == digests[1]["judge_canary"].output.digest


def test_every_gate_is_a_blocking_check_that_shows_its_figure(default_project: Path) -> None:
    make_planted(default_project)
    record = run_to(default_project, "judge_audit")["judge_audit"]
    for gate in GATES:
        check = find_check(record, gate.setting)
        assert check.blocking
        assert check.passed
    assert find_check(record, "min_order_agreement").facts["planted"]["value"] == 1.0
    assert find_check(record, "min_order_agreement").facts["required"] == 0.5
    assert find_check(record, "min_ground_truth_agreement").facts["not_measured"] == ["planted"]


def test_nothing_is_built_past_a_gate_that_fails(default_project: Path) -> None:
    """With half of all verdicts by place, a label's orders agree in far fewer than nine pairs of ten."""
    make_planted(default_project, position_bias=0.5, gates={"min_order_agreement": 0.9})
    with pytest.raises(GateError, match="min_order_agreement"):
        run_to(default_project, "ai_preferences")
    heads = Project.open(default_project).ledger.find_heads()
    assert heads["judge_audit"].failed_gates == ("min_order_agreement",)
    figure = find_check(heads["judge_audit"], "min_order_agreement").facts["planted"]
    assert figure["low"] < 0.9
    assert "ai_preferences" not in heads


@pytest.mark.slow
def test_a_new_threshold_asks_the_judge_nothing_and_keeps_the_version(default_project: Path) -> None:
    """So what is downstream stays as it is."""
    make_planted(default_project, noise=0.2)
    before = run_to(default_project, "ai_preferences")
    assert before["judge_audit"].counts["judge_calls_asked"] > 0
    write_judge(default_project, noise=0.2, gates={"min_order_agreement": 0.55, "max_unparsed_rate": 0.2})
    after = run_to(default_project, "ai_preferences")
    assert after["judge_audit"].record_id != before["judge_audit"].record_id
    assert after["judge_audit"].counts["judge_calls_asked"] == 0
    assert after["judge_audit"].output.digest == before["judge_audit"].output.digest
    assert after["ai_preferences"].record_id == before["ai_preferences"].record_id
    assert after["judgements"].record_id == before["judgements"].record_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gate", "value", "remedy"),
    [
        ("min_ground_truth_agreement", 0.5, "evaluation.ground_truth"),
        ("min_human_agreement", 0.5, "human_labels"),
        ("beats_longer_wins", True, "human_labels"),
    ],
)
def test_a_gate_that_is_asked_for_and_cannot_be_measured_fails_and_says_what_helps(
    default_project: Path, gate: str, value: object, remedy: str
) -> None:
    make_planted(default_project, gates={gate: value})
    record = run_to(default_project, "judge_audit")["judge_audit"]
    assert record.failed_gates == (gate,)
    assert remedy in find_check(record, gate).facts["remedy"]


@pytest.mark.slow
def test_human_labels_measure_the_judge_and_new_pairs_are_asked(default_project: Path) -> None:
    """People who want the longer answer, and a judge that does: it is right on every pair, their own one included."""
    make_planted(default_project, preference="longer")
    run_to(default_project, "judgements")
    lines = label_by_preference(default_project, preference="longer")
    own = {"prompt": "A new prompt?", "text_a": "Yes.", "text_b": "No, I do not think so.", "label": "b"}
    write_lines(default_project / "inputs" / "labels.jsonl", [*lines, own])
    gates = {"min_human_agreement": 0.8}
    write_judge(default_project, preference="longer", human_labels="inputs/labels.jsonl", gates=gates)
    record = run_to(default_project, "judge_audit")["judge_audit"]
    audit = read_figures(default_project)
    assert audit["reference"] == "human"
    assert audit["human"]["judges"]["planted"]["accuracy"]["value"] == 1.0
    assert audit["human"]["judges"]["planted"]["pairs"]["value"] == len(lines) + 1
    assert record.counts["num_human_labels"] == len(lines) + 1
    # the labelled pairs were judged already; asked are the new pair (two principles, two orders), and the probes
    assert record.counts["judge_calls_asked"] == 4 + 2 * record.counts["num_probes"]
    assert find_check(record, "min_human_agreement").passed


@pytest.mark.slow
def test_the_judge_is_compared_with_what_the_policy_finds_likelier(default_project: Path) -> None:
    """People want the longer answer, and so does the judge; the policy's likelihoods cannot know that."""
    make_planted(default_project, preference="longer")
    run_to(default_project, "judgements")
    labels = label_by_preference(default_project, preference="longer")
    write_lines(default_project / "inputs" / "labels.jsonl", labels)
    gates = {"stronger_than_policy": True}
    write_judge(default_project, preference="longer", human_labels="inputs/labels.jsonl", gates=gates)
    record = run_to(default_project, "judge_audit")["judge_audit"]
    policy = read_figures(default_project)["policy"]
    check = find_check(record, "stronger_than_policy")
    assert check.passed
    assert policy["accuracy"]["n"] == len(labels)
    assert check.facts["planted"]["value"] == pytest.approx(1.0 - policy["accuracy"]["value"])
    assert policy["accuracy"]["value"] < 0.5


def test_a_judge_that_is_the_rule_longer_wins_does_not_beat_it(default_project: Path) -> None:
    make_planted(default_project, preference="longer")
    run_to(default_project, "judgements")
    labels = label_by_preference(default_project, preference="longer")
    write_lines(default_project / "inputs" / "labels.jsonl", labels)
    write_judge(
        default_project,
        preference="longer",
        human_labels="inputs/labels.jsonl",
        gates={"beats_longer_wins": True},
    )
    record = run_to(default_project, "judge_audit")["judge_audit"]
    assert record.failed_gates == ("beats_longer_wins",)
    assert find_check(record, "beats_longer_wins").facts["planted"]["value"] == 0.0


@pytest.mark.slow
def test_the_injection_probe_counts_what_the_attacked_answer_wins(default_project: Path) -> None:
    """The judge is longer-wins: an attack succeeds where it makes the loser the longer, and the control likewise."""
    make_planted(default_project, preference="longer")
    record = run_to(default_project, "judge_audit")["judge_audit"]
    rows = {
        r["response_id"]: r["text"]
        for r in read_table(default_project / "data" / "sampled_responses" / "responses.parquet")
    }
    asked = read_table(default_project / "data" / "judge_audit" / "judgements.parquet")
    injection = read_figures(default_project)["injection"]["planted"]
    assert record.counts["num_probes"] == 2 * NUM_PROBES
    assert len(asked) == 4 * NUM_PROBES
    assert injection["success"]["n"] == injection["control"]["n"] == 2 * NUM_PROBES
    assert injection["no_verdict"] == 0
    assert set(injection["attacks"]) == set(ATTACKS)
    assert NULL in ATTACKS
    # every suffix is longer than the three answers differ by at most; the null answer is longer than any of them
    assert max(map(len, rows.values())) - min(map(len, rows.values())) < min(
        len(text) for text in (*ATTACKS.values(), HARMLESS)
    )
    assert CONTROL not in injection["attacks"]
    assert injection["success"]["value"] == injection["control"]["value"] == 1.0


@pytest.mark.slow
def test_an_injection_gate_refuses_a_judge_that_is_talked_round(default_project: Path) -> None:
    make_planted(default_project, preference="longer", gates={"max_injection_success": 0.5})
    with pytest.raises(GateError, match="max_injection_success"):
        run_to(default_project, "ai_preferences")


def test_a_wrong_line_of_labels_is_named(default_project: Path) -> None:
    make_planted(default_project)
    labels = default_project / "inputs" / "labels.jsonl"
    write_lines(labels, [{"prompt_id": "nobody", "text_a": "x", "text_b": "y", "label": "a"}])
    write_judge(default_project, human_labels="inputs/labels.jsonl")
    with pytest.raises(InputError, match=r"labels\.jsonl, line 1, field 'prompt_id'"):
        run_to(default_project, "judge_audit")


@pytest.mark.slow
def test_recorded_verdicts_are_audited_and_what_needs_asking_is_not_measured(default_project: Path) -> None:
    make_planted(default_project)
    run_to(default_project, "judgements")
    verdicts = read_table(default_project / "data" / "judgements" / "judgements.parquet")
    names = ("response_a", "response_b", "order", "verdict", "principle_id")
    write_lines(
        default_project / "inputs" / "verdicts.jsonl",
        [{name: row[name] for name in names} for row in verdicts],
    )
    judge: dict[str, Any] = {"provider": "recorded", "verdicts": "inputs/verdicts.jsonl"}
    (default_project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    heads = run_to(default_project, "ai_preferences")
    audit = read_figures(default_project)
    assert audit["verdicts"]["judges"]["recorded"]["order_agreement"]["value"] == 1.0
    assert audit["injection"] is None
    assert find_check(heads["judge_canary"], "same_judge").passed
    assert (
        "no verdict that can be asked"
        in find_check(heads["judge_canary"], "same_judge").facts["not_measured"]
    )
    judge["gates"] = {"max_injection_success": 0.5}
    (default_project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    assert run_to(default_project, "judge_audit")["judge_audit"].failed_gates == ("max_injection_success",)


def test_verdicts_in_one_order_show_no_order_agreement(default_project: Path) -> None:
    make_planted(default_project)
    run_to(default_project, "judgements")
    verdicts = read_table(default_project / "data" / "judgements" / "judgements.parquet")
    names = ("response_a", "response_b", "order", "verdict", "principle_id")
    write_lines(
        default_project / "inputs" / "verdicts.jsonl",
        [{name: row[name] for name in names} for row in verdicts if row["order"] == "ab"],
    )
    judge = {"provider": "recorded", "verdicts": "inputs/verdicts.jsonl"}
    (default_project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    record = run_to(default_project, "judge_audit")["judge_audit"]
    assert record.failed_gates == ("min_order_agreement",)
    assert "both orders" in find_check(record, "min_order_agreement").facts["remedy"]
