"""Turns recorded MT-Bench answers and judge verdicts into inputs of a project.

    python examples/mtbench/convert.py SOURCE PROJECT

SOURCE holds `mtbench_questions.jsonl`, `mtbench_answers.jsonl.gz` (answers of many models, two turns each)
and `mtbench_<judge>_verdicts.jsonl` (`model_a` is shown first; verdict A, B, C for a tie, or null). PROJECT
gets `inputs/prompts.jsonl`, `inputs/responses.jsonl` and `inputs/verdicts.jsonl`. The judge read both turns,
so prompt and response hold both.

Then say so in the project: `sampling: {provider: recorded, responses: inputs/responses.jsonl}` in
inputs/pipeline.yaml, and `provider: recorded` with `verdicts: inputs/verdicts.jsonl` in inputs/judge.yaml.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SECOND_TURN = "\n\n[second turn]\n"
VERDICTS = {"A": "first", "B": "second", "C": "tie", None: None}


def convert(source: Path, project: Path) -> dict[str, int]:
    """Writes the three files and returns how many lines each has."""
    questions = _read_lines((source / "mtbench_questions.jsonl").read_text(encoding="utf-8"))
    answers = _read_lines(gzip.decompress((source / "mtbench_answers.jsonl.gz").read_bytes()).decode())
    prompts = {
        row["question_id"]: {"prompt": SECOND_TURN.join(row["turns"]), "category": row["category"]}
        for row in questions
    }
    responses = [
        {
            "prompt": prompts[row["question_id"]]["prompt"],
            "source": model,
            "text": f"{answer['turn1']}{SECOND_TURN}{answer['turn2']}",
            "response_id": _name_response(row["question_id"], model),
        }
        for row in answers
        for model, answer in sorted(row["answers"].items())
    ]
    verdicts = [
        {
            "response_a": _name_response(row["question_id"], row["model_a"]),
            "response_b": _name_response(row["question_id"], row["model_b"]),
            "order": "ab",
            "verdict": VERDICTS[row["verdict"]],
            "judge": row["judge"],
        }
        for path in sorted(source.glob("mtbench_*_verdicts.jsonl"))
        for row in _read_lines(path.read_text(encoding="utf-8"))
    ]
    inputs = project / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    files = {"prompts": list(prompts.values()), "responses": responses, "verdicts": verdicts}
    return {name: _write_lines(inputs / f"{name}.jsonl", rows) for name, rows in files.items()}


def main() -> None:
    """Runs the conversion from the command line."""
    parser = argparse.ArgumentParser(description="Turn recorded MT-Bench data into inputs of a project.")
    parser.add_argument("source", type=Path, help="folder with the mtbench_* files")
    parser.add_argument("project", type=Path, help="folder of the project")
    arguments = parser.parse_args()
    counts = convert(arguments.source, arguments.project)
    sys.stdout.write("".join(f"inputs/{name}.jsonl: {count} lines\n" for name, count in counts.items()))


def _name_response(question_id: int, model: str) -> str:
    return f"{question_id}/{model}"


def _read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


if __name__ == "__main__":
    main()
