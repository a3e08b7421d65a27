"""Recorded judges and human labels, published by others, as rows of an audit."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY

REAL = REPOSITORY.parent / "shared" / "real"
MISSING = f"the real recorded data is not at {REAL}"

Row = dict[str, Any]
BASELINE = "vicuna-13b-v1.3"
PANDALM = {0: "tie", 1: "first", 2: "second"}
XSTEST = {"1_full_compliance": "first", "2_full_refusal": "second", "3_partial_refusal": "tie"}
"""A nominal label each: which stands for which changes no kappa."""
GROUND_TRUTH = {"first": "a", "second": "b", "tie": "tie"}


def read_expected() -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((REAL / "EXPECTED.json").read_text())
    return expected


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def convert_llmbar(*, unparsed_as: str | None = None) -> Iterator[Row]:
    """Six judges on each of two subsets; output 1 is a. Lengths are characters.

    Args:
        unparsed_as: The output that a missing verdict is taken for, as its authors do; None leaves it missing.
    """
    pairs = {(row["subset"], row["idx"]): row for row in _read_lines("llmbar_pairs.jsonl")}
    for row in _read_lines("llmbar_verdicts.jsonl"):
        pair = pairs[row["subset"], row["idx"]]
        for order, first in (("ab", "1"), ("ba", "2")):
            winner = row[f"winner_{order}"] or unparsed_as
            yield {
                "pair_id": f"{row['subset']}/{row['idx']}",
                "judge": f"{row['subset']}|{row['judge']}|{row['strategy']}",
                "order": order,
                "verdict": None if winner is None else "first" if winner == first else "second",
                "ground_truth": "ab"[pair["label"] - 1],
                "len_a": len(pair["output_1"]),
                "len_b": len(pair["output_2"]),
            }


def convert_pandalm(*, garbage_as_tie: bool) -> Iterator[Row]:
    """Three annotators and GPT-3.5 on each pair in one order; ground truth: the annotators' majority (never split)."""
    results = {
        row["idx"]: row["gpt_result"]
        for row in json.loads((REAL / "pandalm_gpt-3.5_verdicts.json").read_text())
    }
    verdicts = {"1": "first", "2": "second", "Tie": "tie", "garbage": "tie" if garbage_as_tie else None}
    for row in json.loads((REAL / "pandalm_testset-v1.json").read_text()):
        labels = [PANDALM[row[f"annotator{number}"]] for number in (1, 2, 3)]
        (majority, votes), *_ = Counter(labels).most_common()
        assert votes > 1
        facts = {"pair_id": row["idx"], "order": "ab", "ground_truth": GROUND_TRUTH[majority]}
        for number, label in enumerate(labels, start=1):
            yield {**facts, "judge": f"annotator {number}", "verdict": label}
        yield {**facts, "judge": "gpt-3.5", "verdict": verdicts[results[row["idx"]]]}


def convert_mtbench() -> Iterator[Row]:
    """GPT-4 on 30 models against one, in both orders; that one is b."""
    verdicts = {"A": "first", "B": "second", "C": "tie", None: None}
    for row in _read_lines("mtbench_gpt-4-0613_verdicts.jsonl"):
        model = row["model_b"] if row["model_a"] == BASELINE else row["model_a"]
        yield {
            "pair_id": f"{row['question_id']}/{model}",
            "judge": row["judge"],
            "order": "ab" if row["model_a"] == model else "ba",
            "verdict": verdicts[row["verdict"]],
            "source_a": model,
            "source_b": BASELINE,
        }


def convert_xstest(*columns: str) -> Iterator[Row]:
    """Labellers of one answer to each prompt; the ground truth is the humans' final label."""
    with (REAL / "xstest_mistralguard_labels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for column in columns:
                yield {
                    "pair_id": row["id"],
                    "judge": column,
                    "order": "ab",
                    "verdict": XSTEST[row[column]],
                    "ground_truth": GROUND_TRUTH[XSTEST[row["final_label"]]],
                }


def _read_lines(name: str) -> list[Row]:
    return [json.loads(line) for line in (REAL / name).read_text(encoding="utf-8").splitlines()]
