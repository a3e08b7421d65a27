"""`rlaif judge-audit` gives the figures that are known for judges recorded by others."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_rlaif
from tests.judge_quality.real_data import (
    BASELINE,
    MISSING,
    REAL,
    convert_llmbar,
    convert_mtbench,
    convert_pandalm,
    convert_xstest,
    read_expected,
    write_rows,
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL.is_dir(), reason=MISSING)]

LLMBAR_WITH_UNPARSED = {"Natural|ChatGPT|CoT", "Neighbor|ChatGPT|CoT", "Neighbor|LLaMA2|CoT"}


def run_audit(rows: Any, folder: Path) -> dict[str, Any]:
    write_rows(folder / "verdicts.jsonl", rows)
    done = run_rlaif("judge-audit", "verdicts.jsonl", "--json", project=folder)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert len(done.stdout.splitlines()) == 1  # the tables go to stderr
    return result


def percent(figure: dict[str, Any]) -> float:
    return 100.0 * float(figure["value"])


def test_llmbar(tmp_path: Path) -> None:
    """All published and measured figures of twelve judges.

    Kappa against the ground truth is the right one: its authors print 0.2696 for GPT-4 Vanilla on Natural, from labels
    coded 0/1 on one side and 1/2 on the other. Their positional agreement counts a pair with an unparsed verdict as one
    that disagrees: `order_agreement_all`; the strict one leaves such pairs out.
    """
    expected = read_expected()["llmbar"]
    judges = run_audit(convert_llmbar(), tmp_path)["judges"]
    assert judges.keys() == expected.keys()
    for name, figures in judges.items():
        published, measured = expected[name]["published"], expected[name]["measured_not_published"]
        assert percent(figures["accuracy"]) == pytest.approx(published["avg_accuracy_pct"], abs=1e-9)
        assert percent(figures["both_correct"]) == pytest.approx(published["both_correct_pct"], abs=1e-9)
        agreement = published["positional_agreement_pct"]
        assert percent(figures["order_agreement_all"]) == pytest.approx(agreement, abs=1e-9)
        assert round(figures["kappa_ground_truth"]["value"], 6) == measured["kappa_vs_gold_mean_of_orders"]
        assert figures["first_first"]["value"] == measured["first_first"]
        assert figures["second_second"]["value"] == measured["second_second"]
        assert round(percent(figures["prefers_longer"]), 4) == measured["prefers_longer"]
        num_pairs = 100 if name.startswith("Natural") else 134
        assert figures["pairs"]["value"] == num_pairs
        num_unparsed = int(name in LLMBAR_WITH_UNPARSED)
        assert figures["unparsed"]["value"] == pytest.approx(num_unparsed / (2 * num_pairs))
        assert figures["pairs_excluded"]["value"] == num_unparsed
        assert figures["order_agreement"]["n"] == num_pairs - num_unparsed
        if not num_unparsed:
            assert figures["order_agreement"] == figures["order_agreement_all"]
            assert figures["kappa_orders"]["value"] == pytest.approx(
                published["kappa_between_orders"], abs=1e-12
            )
    strict = judges["Natural|ChatGPT|CoT"]
    assert strict["order_agreement"]["value"] == pytest.approx(64 / 99)
    # Orders ab: 61 ones and 38 twos, ba: 28 and 71, of 99.
    chance = (61 * 28 + 38 * 71) / 99**2
    assert strict["kappa_orders"]["value"] == pytest.approx((64 / 99 - chance) / (1 - chance))


def test_the_kappa_between_orders_that_llmbar_prints_takes_an_unparsed_verdict_for_output_2(
    tmp_path: Path,
) -> None:
    expected = read_expected()["llmbar"]
    judges = run_audit(convert_llmbar(unparsed_as="2"), tmp_path)["judges"]
    for name, figures in judges.items():
        published = expected[name]["published"]["kappa_between_orders"]
        assert figures["kappa_orders"]["value"] == pytest.approx(published, abs=1e-12)


def test_pandalm(tmp_path: Path) -> None:
    """Kappas of the annotators, their majority, and GPT-3.5 against it, garbage taken for a tie as published."""
    expected = read_expected()["pandalm"]["published"]
    result = run_audit(convert_pandalm(garbage_as_tie=True), tmp_path)
    kappas = {tuple(pair["judges"]): pair["kappa"]["value"] for pair in result["raters"]["pairs"]}
    for one, two in ((1, 2), (1, 3), (2, 3)):
        kappa = kappas[f"annotator {one}", f"annotator {two}"]
        assert math.floor(100 * kappa + 0.5) / 100 == expected[f"kappa_{one}{two}"]
    judge = result["judges"]["gpt-3.5"]
    counts = {"0": "ground_truth_tie", "1": "ground_truth_a", "2": "ground_truth_b"}
    assert {label: judge[key]["value"] for label, key in counts.items()} == expected["label_counts"]
    published = {
        "accuracy": "gpt-3.5_accuracy",
        "macro_precision": "macro_precision",
        "macro_recall": "macro_recall",
        "macro_f1": "macro_F1",
    }
    for key, name in published.items():
        assert round(judge[key]["value"], 4) == expected[name]
        assert judge[key]["n"] == 999


def test_pandalm_with_garbage_as_what_it_is(tmp_path: Path) -> None:
    """25 answers hold no verdict: not ties. Those whose ground truth is a tie were right by luck, and are no longer."""
    judge = run_audit(convert_pandalm(garbage_as_tie=False), tmp_path)["judges"]["gpt-3.5"]
    assert judge["unparsed"]["value"] == pytest.approx(25 / 999)
    assert judge["tie_rate"]["value"] == pytest.approx(38 / 974)
    published = read_expected()["pandalm"]["published"]["gpt-3.5_accuracy"]
    assert judge["accuracy"]["value"] < published < judge["accuracy_parsed"]["value"]


def test_mtbench(tmp_path: Path) -> None:
    """GPT-4's consistency, and the share that each of 30 models wins against one."""
    expected = read_expected()["mtbench_gpt-4-0613"]
    published, measured = expected["published"], expected["measured_not_published"]
    result = run_audit(convert_mtbench(), tmp_path)
    judge = result["judges"]["gpt-4-0613"]
    assert judge["pairs"] == {
        "value": measured["pairs"],
        "n": published["total"],
        "low": measured["pairs"],
        "high": measured["pairs"],
    }
    assert judge["order_agreement"]["n"] == measured["both_parsed"]
    assert judge["unparsed"]["value"] == 0.0
    consistent = judge["order_agreement"]["value"] * judge["order_agreement"]["n"]
    assert round(consistent) == measured["consistent"]
    assert 2 * round(consistent) == published["consistent"]
    assert round(percent(judge["order_agreement"]), 4) == measured["strict_consistency"]
    assert round(percent(judge["order_agreement"]), 2) == published["rate_pct"]
    for key in ("first_first", "second_second", "tie_mixed"):
        assert judge[key]["value"] == measured[key]
    assert round(percent(judge["first_rate"]), 4) == measured["first_rate"]
    shares = {source: figure["value"] for source, figure in result["sources"]["gpt-4-0613"].items()}
    wins = published[f"win_plus_half_tie_vs_{BASELINE}_over_consistent_verdicts"]
    assert {name: round(share, 4) for name, share in shares.items() if name != BASELINE} == {
        name: share for name, share in wins.items() if share is not None
    }


def test_xstest(tmp_path: Path) -> None:
    """Two humans with each other, and GPT-4 with their final label.

    `strmatch_kappa` cannot be measured here: the files hold neither the answers nor the string matcher's labels.
    """
    expected = read_expected()["xstest_mistralguard"]
    published, measured = expected["published"], expected["measured_not_published"]
    humans = run_audit(convert_xstest("annotation_1", "annotation_2"), tmp_path)["raters"]
    assert round(percent(humans["unanimous"]), 1) == published["human_agreement_pct"]
    assert round(humans["fleiss_kappa"]["value"], 2) == published["fleiss_kappa"]
    assert humans["unanimous"]["n"] == measured["n"]
    assert round((1 - humans["unanimous"]["value"]) * measured["n"]) == measured["human_disagree"]
    judge = run_audit(convert_xstest("gpt4_label"), tmp_path)["judges"]["gpt4_label"]
    assert round(judge["kappa_ground_truth"]["value"], 4) == measured["gpt4_vs_human_kappa"]
    assert round(percent(judge["accuracy"]), 2) == measured["gpt4_vs_human_agree"]
    assert judge["unparsed"]["value"] * judge["unparsed"]["n"] == measured["gpt4_unparsable"]
