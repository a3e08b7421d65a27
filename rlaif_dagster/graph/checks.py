"""Checks that several stages share."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlaif_dagster.generation.responses import MOST_CUT
from rlaif_dagster.graph.stage import Check, CheckResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.tables import BATCH_ROWS

if TYPE_CHECKING:
    import pyarrow as pa


def check_schema(table: str, schema: "Callable[[], pa.Schema]", *, key: tuple[str, ...]) -> Check:
    """Makes the check that a table has its columns, no forbidden nulls, and no duplicate keys.

    Args:
        table: File name of the table in the asset's folder.
        schema: Returns the schema that the table must have.
        key: Columns whose values together identify a row.
    """
    return Check(
        name="schema",
        description=f"{table} has the declared columns, no missing values and no duplicate keys.",
        blocking=True,
        run=functools.partial(_check_schema, table, schema, key),
    )


def _check_schema(
    table: str,
    schema: "Callable[[], pa.Schema]",
    key: tuple[str, ...],
    output: Path,
    inputs: Mapping[str, Path],
) -> CheckResult:
    del inputs
    from pyarrow import parquet

    expected = schema()
    with parquet.ParquetFile(output / table) as file:
        found = file.schema_arrow
        same = found.equals(expected)
        nulls: Counter[str] = Counter()
        for batch in file.iter_batches(BATCH_ROWS) if same else ():
            nulls.update({f.name: batch.column(f.name).null_count for f in expected if not f.nullable})
        keys = file.read(list(key)) if same else None
    gaps = [name for name, count in nulls.items() if count]
    num_repeated = keys.num_rows - keys.group_by(list(key)).aggregate([]).num_rows if keys else 0
    return CheckResult(
        passed=same and not gaps and not num_repeated,
        facts={
            "columns": found.names,
            "as_declared": same,
            "columns_with_gaps": gaps,
            "num_repeated_keys": num_repeated,
        },
    )


FEW_ANSWERS_CUT: Final = "few_answers_cut"


def check_cut(setting: str | None, read_shares: Callable[[Path], Mapping[str, float | None]]) -> Check:
    """Makes the check that warns if many answers were cut.

    Args:
        setting: The field of pipeline.yaml that limits the answers' tokens; None for recorded answers.
        read_shares: Reads the shares of cut answers by name from the asset's folder; None means unknown.
    """
    limit = setting or "max_new_tokens"
    return Check(
        name=FEW_ANSWERS_CUT,
        description=f"At most {MOST_CUT:.0%} of the answers were cut at {limit}. Policies learn from cut answers "
        "without an end-of-turn token, and judges see them as they are.",
        blocking=False,
        run=functools.partial(_check_cut, setting, limit, read_shares),
    )


def _check_cut(
    setting: str | None,
    limit: str,
    read_shares: Callable[[Path], Mapping[str, float | None]],
    output: Path,
    inputs: Mapping[str, Path],
) -> CheckResult:
    del inputs
    shares = read_shares(output)
    worst = max((share for share in shares.values() if share is not None), default=0.0)
    if worst <= MOST_CUT:
        return CheckResult(passed=True, facts=shares)
    remedy = f"raise {setting} in {PIPELINE_FILE}" if setting else "record longer ones"
    why = (
        f"{worst:.0%} of the answers were cut at {limit}, before the policy ended its turn; "
        f"{remedy}, or use a policy that ends its answers"
    )
    return CheckResult(passed=False, facts={**shares, "why": why})
