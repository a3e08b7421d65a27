"""A tiny project on recorded answers and verdicts by two principles: runs in seconds, without a model."""

import json
from pathlib import Path
from typing import Any

import yaml

from rlaif_dagster.cli.init import init_command
from tests.conftest import edit_yaml

CONSTITUTION: dict[str, Any] = {
    "principles": [
        {"id": "brief", "text": "Be brief.", "weight": 1.0},
        {"id": "kind", "text": "Be kind.", "weight": 3.0},
    ]
}


def make_traced_project(folder: Path, num_prompts: int = 6) -> Path:
    """Makes the project: two answers to each prompt; `kind` likes the one of `left`, `brief` the other."""
    init_command(folder)
    inputs = folder / "inputs"

    def record(pipeline: dict[str, Any]) -> None:
        pipeline["sampling"] = {"provider": "recorded", "responses": "inputs/responses.jsonl"}
        pipeline["prompts"]["eval_fraction"] = 0.5
        pipeline["evaluation"] = {"ground_truth": None}

    edit_yaml(inputs / "pipeline.yaml", record)
    (inputs / "constitution.yaml").write_text(yaml.safe_dump(CONSTITUTION))
    (inputs / "judge.yaml").write_text("provider: recorded\nverdicts: inputs/verdicts.jsonl\n")
    prompts = [f"What is thing number {number}?" for number in range(num_prompts)]
    write_lines(inputs / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    write_lines(
        inputs / "responses.jsonl",
        [
            {"prompt": prompt, "text": f"{source} says {prompt}", "source": source}
            for prompt in prompts
            for source in ("left", "right")
        ],
    )
    write_lines(
        inputs / "verdicts.jsonl",
        [
            {
                "prompt": prompt,
                "source_a": "left",
                "source_b": "right",
                "order": order,
                "verdict": "first" if (order == "ab") == (principle == "kind") else "second",
                "principle_id": principle,
                "judge": "tester",
                "raw_text": "I like it.",
            }
            for prompt in prompts
            for principle in ("brief", "kind")
            for order in ("ab", "ba")
        ],
    )
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
