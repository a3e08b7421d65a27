"""The tiny project in two states, each committed and released: a principle reworded, and a setting of the policy.

Answers and verdicts are those of the real models. What is trained is left out: in its place stand evaluations whose
comparisons follow from the version of the policy, so that they are different and known.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA
from rlaif_dagster.graph.build import Graph, build_graph
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import COMPARISONS_TABLE, INPUTS_JSON, METRICS_JSON
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.tables import write_table
from tests.conftest import edit_yaml
from tests.lineage.tiny_project import TRAINED, leave_out_training
from tests.plain_stages import change
from tests.versioning.conftest import commit_all, run_git

NUM_COMPARISONS = 12


def make_compared(base: Path, folder: Path) -> Path:
    """Makes the project from a tiny one that is up to date; its revisions are the tags `v1` and `v2`."""
    root = Path(shutil.copytree(base, folder, symlinks=True))
    for record in Project.open(root).ledger.records():
        if record.asset in TRAINED:  # the last ones; others stand in their place
            (root / "lineage" / f"{record.record_id}.json").unlink()
    project = Project.open(root)
    edit_yaml(root / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(release={"require": []}))
    bring_up_to_date(project, win_rate=0.5)
    commit(root, "v1")

    def reword(constitution: dict[str, Any]) -> None:
        constitution["principles"][1]["text"] = "Say as little as you can."

    edit_yaml(root / "inputs" / "constitution.yaml", reword)
    edit_yaml(root / "inputs" / "pipeline.yaml", lambda pipeline: pipeline["policy"].update(beta=0.2))
    bring_up_to_date(project, win_rate=0.75)
    commit(root, "v2")
    return root


def commit(root: Path, tag: str) -> None:
    commit_all(root, tag)
    run_git(root, "tag", tag)


def bring_up_to_date(project: Project, *, win_rate: float) -> None:
    graph: Graph = build_graph(project.read_inputs())
    graph |= {name: leave_out_training(graph[name]) for name in ("reward_model", "aligned_policy")}
    graph |= {"evaluation": measure(graph["evaluation"], win_rate)}
    for stage in graph.values():
        materialise(project, stage, progress=ignore_progress)


def measure(stage: Stage, win_rate: float) -> Stage:
    """An evaluation in which the policy wins a share of its comparisons, by the judge and by rewards."""

    def compute(context: StageContext) -> StageResult:
        wins = int(win_rate * NUM_COMPARISONS)
        rows = [
            {
                "prompt_id": f"p{number // 2}",
                "index": number % 2,
                "prompt": f"Question {number // 2}?",
                "base_text": f"base {number}",
                "aligned_text": f"<b>{'kept' if number < 3 else wins} {number}</b>",
                "p_judge": 0.9 if number < wins else 0.1,
                "base_reward": float(number),
                "aligned_reward": number + (1.0 if number < wins else -0.5),
                "principles": [],
            }
            for number in range(NUM_COMPARISONS)
        ]
        write_table(context.output / COMPARISONS_TABLE, rows, COMPARISONS_SCHEMA)
        (context.output / METRICS_JSON).write_bytes(canonical_json({"win_rate_judge": win_rate}))
        measured = {name: str(digest) for name, digest in context.digests.items()}
        (context.output / INPUTS_JSON).write_bytes(json.dumps(measured).encode())
        return StageResult(rows=len(rows))

    return change(stage, compute=compute, code_version="compared", checks=(), requires={})
