"""Checks that several stages share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_dagster.graph.stage import Check, CheckResult

if TYPE_CHECKING:
    import pyarrow as pa


def check_schema(table: str, schema: "Callable[[], pa.Schema]", *, key: tuple[str, ...]) -> Check:
    """Makes the check that a table has its columns, no gap where none may be, and no key twice.

    Args:
        table: File name of the table in the asset's folder.
        schema: Gives the schema that the table must have.
        key: Columns whose values together name a row.
    """

    def run(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
        del inputs
        from pyarrow import parquet

        expected = schema()
        found = parquet.ParquetFile(output / table).read()
        same = found.schema.equals(expected)
        gaps = (
            [f.name for f in expected if not f.nullable and found.column(f.name).null_count] if same else []
        )
        num_repeated = found.num_rows - found.group_by(list(key)).aggregate([]).num_rows if same else 0
        return CheckResult(
            passed=same and not gaps and not num_repeated,
            facts={
                "columns": found.schema.names,
                "as_declared": same,
                "columns_with_gaps": gaps,
                "num_repeated_keys": num_repeated,
            },
        )

    return Check(
        name="schema",
        description=f"The columns of {table} are as declared, without gaps, and each row is named once.",
        blocking=True,
        run=run,
    )
