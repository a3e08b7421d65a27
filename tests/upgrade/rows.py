"""What the weights and table rows of the embedded default were in version 0.1.0, as digests.

`default_run_0_1_0.json` was written from a run of version 0.1.0 (commit 56ac083) in a new project:

    rlaif init PROJECT && rlaif run --project PROJECT      # with 0.1.0
    python -m tests.upgrade.rows PROJECT                   # with any version

It says on which kind of processor: training on another one gives other low bits (see docs/architecture.md,
"Determinism"), so that digests of another one say nothing. It holds a digest of each file of weights and of each
column of each table, so that a column that was added or renamed since then is told apart from one that changed. What
may differ stands here, and nothing else may.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.former_names import update_fields
from rlaif_dagster.tables import Row, read_table

GOLDEN: Final = Path(__file__).with_name("default_run_0_1_0.json")

ADDED_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "ai_preferences/preferences.parquet": frozenset({"finish_reason_a", "finish_reason_b"}),
    "aligned_policy/checkpoints.parquet": frozenset({"finish_reason"}),
    "evaluation/comparisons.parquet": frozenset({"base_finish_reason", "aligned_finish_reason"}),
}
"""Columns that 0.1.0 did not have, by table."""

RENAMED_TABLES: Final[Mapping[str, str]] = {}
"""The tables that have another name now, by their name in 0.1.0."""

ANOTHER_DRAW: Final[Mapping[str, frozenset[str]]] = {
    "evaluation/responses.parquet": frozenset(),
    "evaluation/judgements.parquet": frozenset(),
    "evaluation/comparisons.parquet": frozenset(
        {"prompt_id", "prompt", "category", "index", "base_text", "base_tokens", "base_clean"}
    ),
}
"""Tables with answers that the aligned policy draws anew, and their columns that are the base policy's alone.

The seed of an answer is derived from the digest of its policy's folder, as a part of its key. The folder of
`aligned_policy` has the column `finish_reason` more in `checkpoints.parquet`, and a count more in its card, and so
another digest with the same weights: its held-out answers are other draws of the same policy. Rewards are computed in
batches with these, so that `base_reward` differs by rounding (at most 2e-7). The rows of the base policy in
`responses.parquet` are compared as a table of their own.
"""
BASE_ANSWERS: Final = "evaluation/responses.parquet, of the base policy"


def describe_processor() -> str:
    """The kind of processor: its maker, family and model, and the instructions that torch uses on it."""
    import torch

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    named = [
        re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE) for name in ("vendor_id", "cpu family", "model")
    ]
    return " ".join([*(found[1] for found in named if found), torch.backends.cpu.get_cpu_capability()])


def describe_run(project: Path) -> dict[str, Any]:
    """The digests of every file of weights and of every column of every table in a project's `data/`."""
    data = project / "data"
    tables = {path.relative_to(data).as_posix(): read_table(path) for path in sorted(data.rglob("*.parquet"))}
    base = {row["source"] for row in tables["sampled_responses/responses.parquet"]}
    tables[BASE_ANSWERS] = [row for row in tables["evaluation/responses.parquet"] if row["source"] in base]
    return {
        "processor": describe_processor(),
        "weights": {
            path.relative_to(data).as_posix(): Digest.from_bytes(path.read_bytes()).sha256
            for path in sorted(data.rglob("*.safetensors"))
        },
        "tables": {name: describe_rows(rows) for name, rows in tables.items()},
    }


def describe_rows(rows: list[Row]) -> dict[str, Any]:
    """How many rows there are, and the digest of the values of each column in their order."""
    columns = rows[0].keys() if rows else ()
    return {
        "num_rows": len(rows),
        "columns": {name: Digest.from_json([row[name] for row in rows]).sha256 for name in columns},
    }


def find_differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What differs from 0.1.0 and may not, for people.

    Args:
        now: What `describe_run` says of a run of today.
        before: What it says of a run of 0.1.0.
    """
    found = [
        f"{name}: other weights, or none"
        for name, digest in before["weights"].items()
        if now["weights"].get(name) != digest
    ]
    found += [f"{name}: new weights" for name in now["weights"].keys() - before["weights"].keys()]
    for old_name, old in before["tables"].items():
        name = RENAMED_TABLES.get(old_name, old_name)
        columns = update_fields(old["columns"])
        new = now["tables"].get(name, {"num_rows": 0, "columns": {}})
        added = new["columns"].keys() - columns.keys() - ADDED_COLUMNS.get(name, frozenset())
        found += [f"{name}: {column} is new" for column in sorted(added)]
        found += [f"{name}: {column} is gone" for column in sorted(columns.keys() - new["columns"].keys())]
        compared = ANOTHER_DRAW.get(name, columns.keys())
        if compared and old["num_rows"] != new["num_rows"]:
            found.append(f"{name}: {new['num_rows']} rows, and {old['num_rows']} in 0.1.0")
        found += [
            f"{name}: other values of {column}"
            for column in sorted(columns.keys() & new["columns"].keys() & compared)
            if columns[column] != new["columns"][column]
        ]
    return found


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(describe_run(Path(sys.argv[1])), indent=1) + "\n")
