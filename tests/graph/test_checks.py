"""A check of a version whose file is missing fails, and names the file."""

from pathlib import Path

import pyarrow as pa

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.stage import Check, CheckResult


def test_a_check_of_a_table_that_is_missing_fails_and_names_it(tmp_path: Path) -> None:
    check = check_schema("folder/rows.parquet", lambda: pa.schema([("text", pa.string())]), key=("text",))
    assert check.ask(tmp_path, {}) == CheckResult(passed=False, facts={"missing": "folder/rows.parquet"})


def test_a_check_of_a_file_that_is_missing_says_what_was_required(tmp_path: Path) -> None:
    def read(output: Path, inputs: object) -> CheckResult:
        return CheckResult(passed=bool((output / "metrics.json").read_bytes()))

    check = Check(name="win_rate", description="", blocking=True, run=read, required=0.5)
    facts: dict[str, JsonValue] = {"required": 0.5, "missing": "metrics.json"}
    assert check.ask(tmp_path, {}) == CheckResult(passed=False, facts=facts)
