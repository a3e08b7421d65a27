"""Traces: hand-made tables for the arithmetic, and one real project for the way from a sentence to a label."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.generation.responses import responses_schema
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.verdicts import ORDERS, Verdict, judgements_schema, lean
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.tracing.labels import (
    compare_labels_without,
    compare_labels_without_judge,
    count_verdicts,
)
from rlaif_dagster.lineage.tracing.trace import trace_subject
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts, preferences_schema
from rlaif_dagster.prompts import prompts_schema
from rlaif_dagster.tables import read_table, write_table
from tests.conftest import edit_yaml, run_assets, run_rlaif
from tests.lineage.traced_project import make_traced_project


def make_label(pair_id: str, p_a: float, *parts: tuple[str | None, float, float]) -> dict[str, Any]:
    texts = ("prompt_id", "split", "prompt", "response_a", "response_b", "text_a", "text_b")
    return {
        **dict.fromkeys((*texts, "chosen", "rejected"), "x"),
        "pair_id": pair_id,
        "p_a": p_a,
        "near_tie": False,
        "num_verdicts": 2 * len(parts),
        "principles": [{"principle_id": name, "p_a": p, "weight": w} for name, p, w in parts],
    }


def test_a_label_without_a_principle_is_the_mean_over_the_others(tmp_path: Path) -> None:
    """flips: (1*0.9 + 3*0.3)/4 = 0.45, without kind 0.9; alone: kind only; same: kind says what the other says."""
    rows = [
        make_label("flips", 0.45, ("brief", 0.9, 1.0), ("kind", 0.3, 3.0)),
        make_label("alone", 0.8, ("kind", 0.8, 3.0)),
        make_label("same", 0.7, ("brief", 0.7, 1.0), ("kind", 0.7, 3.0)),
        make_label("other", 0.2, ("brief", 0.2, 1.0)),
    ]
    write_table(tmp_path / "t.parquet", rows, preferences_schema())
    found = compare_labels_without(tmp_path / "t.parquet", "kind")
    assert (found.num_labels, found.num_alone, found.num_flipped, found.num_moved) == (3, 1, 1, 1)
    assert found.examples == (("flips", 0.45, 0.9),)
    assert found.mean_shift == pytest.approx((0.45 + 0.0) / 2)
    none = compare_labels_without(tmp_path / "t.parquet", "nobody")
    assert (none.num_labels, none.mean_shift, none.examples) == (0, None, ())


def write_jury(root: Path, judges: dict[str, list[float]]) -> dict[str, Path]:
    """Three pairs judged by some judges in both orders, without an order's bias, and their labels by the mean."""
    folder = root / "versions"
    folder.mkdir()
    constitution: Any = {"principles": [{"id": "kind", "text": "Be kind.", "weight": 1.0}]}
    (folder / "constitution.json").write_text(json.dumps(constitution))
    verdicts = [
        Verdict(
            verdict_id=f"{pair}{judge}{order}",
            pair_id=f"pair{pair}",
            prompt_id="p",
            response_a=f"a{pair}",
            response_b=f"b{pair}",
            order=order,
            principle_id="kind",
            judge=judge,
            repeat=0,
            status="ok",
            p_first=said[pair] if order == "ab" else 1 - said[pair],
            verdict=lean(said[pair] if order == "ab" else 1 - said[pair]),
            answers=(),
        )
        for pair in range(3)
        for judge, said in judges.items()
        if pair < len(said)
        for order in ORDERS
    ]
    prompts = [{"prompt_id": "p", "prompt": "p", "category": None, "split": "train"}]
    responses = [
        dict.fromkeys(responses_schema().names)
        | {
            "response_id": f"{side}{pair}",
            "prompt_id": "p",
            "source": "x",
            "index": 0,
            "text": f"{side}{pair}",
        }
        for pair in range(3)
        for side in "ab"
    ]
    labels = aggregate_verdicts(
        verdicts,
        constitution=Constitution.from_json(constitution),
        prompts=prompts,
        responses=responses,
        settings=PreferenceSettings(),
    )
    write_table(
        folder / "judgements.parquet", [verdict.to_row() for verdict in verdicts], judgements_schema()
    )
    write_table(folder / "prompts.parquet", prompts, prompts_schema())
    write_table(folder / "responses.parquet", responses, responses_schema())
    write_table(folder / "preferences.parquet", labels.rows, preferences_schema())
    names = ("constitution", "prompts", "sampled_responses", "judgements", "ai_preferences")
    return dict.fromkeys(names, folder)


SETTINGS = {"preferences": {}, "protocol": "per_principle", "combine": "mean"}


def test_a_label_without_a_judge_is_that_of_the_rest_of_its_jury(tmp_path: Path) -> None:
    """Pair 0: (0.9 + 0.3 + 0.2) / 3 flips nothing; pair 1: 0.6 -> 0.4 flips; pair 2: judged by `one` alone."""
    folders = write_jury(tmp_path, {"one": [0.9, 1.0, 0.7], "two": [0.3, 0.4], "three": [0.2, 0.4]})
    found = compare_labels_without_judge(folders, "one", settings=SETTINGS)
    assert (found.num_labels, found.num_alone, found.num_flipped, found.num_moved) == (3, 1, 1, 2)
    ((pair, before, after),) = found.examples
    assert [before, after] == pytest.approx([0.6, 0.4])
    assert pair == "pair1"
    assert found.mean_shift == pytest.approx((1.4 / 3 - 0.25 + 0.2) / 2)
    nobody = compare_labels_without_judge(folders, "nobody", settings=SETTINGS)
    assert (nobody.num_labels, nobody.num_alone, nobody.mean_shift) == (0, 0, None)


def test_without_the_only_judge_there_is_no_label(tmp_path: Path) -> None:
    folders = write_jury(tmp_path, {"one": [0.9, 0.6, 0.7]})
    found = compare_labels_without_judge(folders, "one", settings=SETTINGS)
    assert (found.num_labels, found.num_alone, found.num_flipped) == (3, 3, 0)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded answers and verdicts (no model): run, then the first principle reworded, and run again."""
    project = make_traced_project(tmp_path_factory.mktemp("traced") / "project")
    run_assets("ai_preferences", project=project)

    def reword(constitution: dict[str, Any]) -> None:
        constitution["principles"][1]["text"] = "Be very kind."

    edit_yaml(project / "inputs" / "constitution.yaml", reword)
    run_assets("ai_preferences", project=project)
    return project


@pytest.mark.slow
def test_a_pair_shows_its_verdicts_in_the_judges_own_words(traced: Path) -> None:
    (label, *_) = read_table(traced / "data" / "ai_preferences" / "preferences.parquet")
    trace = trace_subject(Project.open(traced), f"pair:{label['pair_id'][:6]}")
    facts: Any = trace.facts
    assert {row["response_id"] for row in facts["responses"]} == {label["response_a"], label["response_b"]}
    assert facts["prompt"]["prompt"] == label["prompt"]
    assert [verdict["answers"][0]["text"] for verdict in facts["verdicts"]] == ["I like it."] * 4
    assert facts["label"]["p_a"] == label["p_a"]
    assert [step.asset for step in trace.made_from][-1] == "ai_preferences"


@pytest.mark.slow
def test_a_response_shows_the_pairs_that_it_stands_in(traced: Path) -> None:
    (label, *_) = read_table(traced / "data" / "ai_preferences" / "preferences.parquet")
    facts: Any = trace_subject(Project.open(traced), f"response:{label['response_b']}").facts
    (pair,) = [pair for pair in facts["pairs"] if pair["pair_id"] == label["pair_id"]]
    assert pair == {
        "pair_id": label["pair_id"],
        "p_preferred": 1.0 - label["p_a"],
        "other": label["response_a"],
    }


@pytest.mark.slow
def test_a_principle_leads_to_every_wording_and_all_that_was_made_by_it(traced: Path) -> None:
    trace = trace_subject(Project.open(traced), "principle:kind")
    facts: Any = trace.facts
    assert [wording["text"] for wording in facts["wordings"]] == ["Be kind.", "Be very kind."]
    assert facts["today"]["text"] == "Be very kind."
    assert {step.asset for step in trace.went_into} == {
        "judgements",
        "judge_audit",
        "judge_canary",
        "ai_preferences",
    }
    rows = read_table(traced / "data" / "judgements" / "judgements.parquet")
    assert facts["verdicts"]["num_verdicts"] == sum(row["principle_id"] == "kind" for row in rows) > 0


@pytest.mark.slow
def test_a_judge_leads_to_what_learned_from_it(traced: Path) -> None:
    trace = trace_subject(Project.open(traced), "judge:tester")
    facts: Any = trace.facts
    rows = read_table(traced / "data" / "judgements" / "judgements.parquet")
    assert facts["verdicts"]["by_status"] == {"ok": len(rows)}
    assert facts["labels"]["num_alone"] == facts["labels"]["num_labels"] == 6
    assert {step.asset for step in trace.went_into} == {"judge_audit", "judge_canary", "ai_preferences"}
    assert {step.asset for step in trace.made_from} == {"judge"}


@pytest.mark.slow
def test_a_version_leads_back_to_the_sources_and_their_sentences(traced: Path) -> None:
    trace = trace_subject(Project.open(traced), "ai_preferences")
    assets = [step.asset for step in trace.made_from]
    assert set(assets) == {
        "constitution",
        "judge",
        "prompts",
        "sampled_responses",
        "judgements",
        "judge_audit",
        "judge_canary",
        "ai_preferences",
    }
    for step in trace.made_from:
        position = assets.index(step.asset)
        assert all(assets.index(name) < position for name in step.inputs)
    facts: Any = trace.facts
    assert [principle["text"] for principle in facts["principles"]] == ["Be brief.", "Be very kind."]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("pair:zzz", "there is no pair 'zzz'"),
        ("response:zzz", "there is no response 'zzz'"),
        ("principle:zzz", "ever had a principle 'zzz'"),
        ("judge:zzz", "remedy: name one of tester"),
        ("nothing", "no record of 'nothing'"),
        ("ai_preferences@ffff", "no record of"),
    ],
)
def test_what_does_not_exist_is_named_with_the_remedy(traced: Path, subject: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        trace_subject(Project.open(traced), subject)


@pytest.mark.slow
def test_the_command_prints_json(traced: Path) -> None:
    out = run_rlaif("trace", "principle:kind", "--json", project=traced)
    assert json.loads(out.stdout.splitlines()[-1])["subject"] == "principle:kind"


@pytest.mark.slow
def test_nothing_is_written(traced: Path) -> None:
    before = subprocess.run(
        ["ls", "-lR", "lineage", "data"], cwd=traced, capture_output=True, check=True
    ).stdout
    trace_subject(Project.open(traced), "principle:kind")
    after = subprocess.run(
        ["ls", "-lR", "lineage", "data"], cwd=traced, capture_output=True, check=True
    ).stdout
    assert before == after


@pytest.mark.slow
def test_counts_of_a_column_are_those_of_the_table(traced: Path) -> None:
    table = traced / "data" / "judgements" / "judgements.parquet"
    assert count_verdicts(table, "judge", "nobody")["num_verdicts"] == 0
