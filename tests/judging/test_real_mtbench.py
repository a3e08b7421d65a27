"""Real answers and a real judge's verdicts, recorded by others, give the figures known for them."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.generation.samplers.recorded import import_responses
from rlaif_dagster.judging.recorded import read_recorded_verdicts
from rlaif_dagster.judging.verdicts import RecordedResult
from rlaif_dagster.preferences import PreferenceSettings, PreferencesResult, aggregate_verdicts
from rlaif_dagster.prompts import read_prompt_lines, split_prompts
from rlaif_dagster.tables import Row

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "real"
EXAMPLE = ROOT / "examples" / "recorded"


def aggregate_recorded(project: Path) -> tuple[RecordedResult, PreferencesResult, dict[str, Row]]:
    """Imports a project's recorded files, and combines the verdicts."""
    inputs = project / "inputs"
    lines = read_prompt_lines(inputs / "prompts.jsonl")
    prompts = [asdict(prompt) for prompt in split_prompts(lines, eval_fraction=0.3, root_seed=0).prompts]
    responses = import_responses(inputs / "responses.jsonl", prompts).rows
    recorded = read_recorded_verdicts(inputs / "verdicts.jsonl", responses)
    result = aggregate_verdicts(
        recorded.verdicts,
        constitution=None,
        prompts=prompts,
        responses=responses,
        settings=PreferenceSettings(),
    )
    return recorded, result, {row["response_id"]: row for row in responses}


def share_wins(result: PreferencesResult, sources: dict[str, Row], against: str) -> dict[str, float]:
    """Wins plus half the ties of each source against one, over the pairs whose orders agree."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in result.rows:
        if row["consistent"]:
            a, b = (sources[row[side]]["source"] for side in ("response_a", "response_b"))
            scores[b if a == against else a].append(row["p_a"] if b == against else 1 - row["p_a"])
    return {source: sum(values) / len(values) for source, values in scores.items()}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real recorded data is not at {REAL}")
def test_gpt4_on_mt_bench_gives_the_published_figures(tmp_path: Path) -> None:
    expected: dict[str, Any] = json.loads((REAL / "EXPECTED.json").read_text())["mtbench_gpt-4-0613"]
    command = [sys.executable, str(ROOT / "examples" / "mtbench" / "convert.py"), str(REAL), str(tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "inputs/responses.jsonl: 2480 lines" in told

    recorded, result, responses = aggregate_recorded(tmp_path)
    assert (recorded.by_status, recorded.num_missing) == ({"ok": 4800}, 0)
    measured = expected["measured_not_published"]
    assert result.num_pairs == len(result.rows) == measured["pairs"] == 2400
    for name in ("consistent", "first_first", "second_second", "tie_mixed"):
        assert getattr(result, name) == measured[name]
    assert round(100 * result.consistent / result.num_pairs, 4) == measured["strict_consistency"]
    assert sum(result.dropped.values()) == 0

    published = expected["published"]["win_plus_half_tie_vs_vicuna-13b-v1.3_over_consistent_verdicts"]
    shares = share_wins(result, responses, "vicuna-13b-v1.3")
    assert {name: round(share, 4) for name, share in shares.items()} == {
        name: share for name, share in published.items() if share is not None
    }


def test_the_example_of_the_project_shows_each_kind_of_verdict() -> None:
    recorded, result, _ = aggregate_recorded(EXAMPLE)
    assert recorded.by_status == {"ok": 43, "unparsed": 1}
    assert recorded.num_missing == 0
    assert (result.num_pairs, len(result.rows), result.dropped["unparsed"]) == (22, 21, 1)
    assert (result.consistent, result.first_first, result.second_second, result.tie_mixed) == (19, 2, 0, 0)
