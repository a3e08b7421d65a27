"""Two rounds with real models, as small as they learn anything: the longer answer wins."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.projects import TRAINED
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.graph.planted_project import write_judge

TINY: dict[str, Any] = {
    **TRAINED,
    "rounds": 2,
    "plateau": {
        "min_gain": -1.0,
        "min_gap": None,
        "max_disagreement": None,
        "min_diversity": None,
        "stronger_than_policy": False,
    },
    "sampling": {"provider": "local", "num_samples": 4, "max_new_tokens": 32},
    "pairing": {"max_pairs_per_prompt": 5},
    "reward_model": {"learning_rate": 1e-3, "num_epochs": 3.0, "batch_size": 16},
    "evaluation": {"num_samples": 1, "ground_truth": "embedded_world", "max_new_tokens": 32},
}


@pytest.mark.slow
def test_a_policy_samples_for_its_own_next_round(default_project: Path) -> None:
    edit_yaml(default_project / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(TINY))
    prompts = default_project / "inputs" / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:50]))
    constitution = {"principles": [{"id": "helpful", "text": "Answer the question that was asked."}]}
    (default_project / "inputs" / "constitution.yaml").write_text(json.dumps(constitution))
    write_judge(default_project, preference="longer", gates={"min_order_agreement": None})
    project = Project.open(default_project)
    graph = project.build_graph()
    for stage in graph.values():
        materialise(project, stage, progress=ignore_progress)
    heads = project.ledger.find_heads()
    (source,) = {
        row["source"]
        for row in _read_rows(
            default_project / "data" / "round_2" / "sampled_responses" / "responses.parquet"
        )
    }
    assert source == heads["aligned_policy"].output.digest
    assert heads["round_2/aligned_policy"].output.digest != source
    second = heads["round_2/evaluation"]
    assert second.counts["num_reused"] == second.counts["num_sampled"]  # the base policy's answers are known
    audit = json.loads(
        (default_project / "data" / "round_2" / "judge_audit" / "judge_audit.json").read_bytes()
    )
    assert audit["policy"]["judge_minus_policy"]["planted"]["low"] is not None
    assert make_plan(project, graph).stale == ()


def _read_rows(file: Path) -> list[dict[str, Any]]:
    from rlaif_dagster.tables import read_table

    return read_table(file)
