"""Measures the effect of one principle or one judge on the labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.judging import read_bare_verdicts
from rlaif_dagster.graph.sources import read_constitution
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.verdicts import Verdict, lean
from rlaif_dagster.names import (
    AI_PREFERENCES,
    CONSTITUTION,
    JUDGEMENTS,
    PREFERENCES_TABLE,
    PROMPTS,
    PROMPTS_TABLE,
    RESPONSES_TABLE,
    SAMPLED_RESPONSES,
)
from rlaif_dagster.preferences import LABEL_DECIMALS, PreferenceSettings, aggregate_verdicts
from rlaif_dagster.tables import stream_table


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsWithout:
    """Labels with a principle or a judge, compared with the same labels without it.

    Attributes:
        num_labels: Labels that depend on it.
        num_alone: Labels that would not exist without it.
        num_flipped: Labels that would prefer the other answer without it.
        num_moved: Labels that would have another value without it.
        mean_shift: Mean of |label - label without it| over pairs that have both; None if there are none.
        examples: (pair id, label, label without it) of the largest flips.
    """

    num_labels: int
    num_alone: int
    num_flipped: int
    num_moved: int
    mean_shift: float | None
    examples: tuple[tuple[str, float, float], ...]


def count_verdicts(table: Path, column: str, value: str) -> Mapping[str, JsonValue]:
    """Counts the verdicts in which a column has a value: in total, by status, and by preferred position.

    Args:
        table: A judgements table.
        column: `principle_id` or `judge`.
        value: The value.
    """
    from pyarrow import parquet

    rows = parquet.read_table(table, columns=["status", "verdict"], filters=[(column, "=", value)])

    def count(name: str) -> dict[str, JsonValue]:
        counted = rows.column(name).value_counts().to_pylist()
        return {
            item["values"]: item["counts"]
            for item in sorted(counted, key=lambda item: item["values"] or "")
            if item["values"] is not None
        }

    return {"num_verdicts": rows.num_rows, "by_status": count("status"), "by_preference": count("verdict")}


def list_values(table: Path, column: str) -> list[str]:
    """Lists the distinct values of a text column, sorted, without nulls."""
    from pyarrow import parquet

    values = parquet.read_table(table, columns=[column]).column(0).unique().to_pylist()
    return sorted(value for value in values if value is not None)


def compare_labels_without(table: Path, principle_id: str, *, num_examples: int = 5) -> LabelsWithout:
    """Computes what each label would have been without a principle: the weighted mean over the others.

    Args:
        table: A preferences table.
        principle_id: The principle.
        num_examples: The largest number of examples.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, parquet

    rows = parquet.read_table(table, columns=["pair_id", "p_a", "principles"])
    lists = rows.column("principles").combine_chunks()
    parts = lists.flatten()
    # Through DLPack, because to_numpy would import pandas.
    owner = np.from_dlpack(compute.list_parent_indices(lists))
    p_a: Any
    weight: Any
    p_a, weight = (np.from_dlpack(parts.field(name)) for name in ("p_a", "weight"))
    same = compute.fill_null(compute.equal(parts.field("principle_id"), principle_id), False)
    is_it = np.from_dlpack(same.cast(pa.int8())).astype(bool)
    has_it = np.zeros(rows.num_rows, dtype=bool)
    has_it[owner[is_it]] = True

    def total(values: Any) -> Any:
        return np.bincount(owner, weights=np.where(is_it, 0.0, values), minlength=rows.num_rows)

    rest = total(weight)
    label: Any = np.from_dlpack(rows.column("p_a").combine_chunks())
    both = has_it & (rest > 0)
    without = np.full(rows.num_rows, np.nan)
    without[both] = np.round(total(weight * p_a)[both] / rest[both], LABEL_DECIMALS)
    shift = np.abs(label - without)
    flipped = both & (np.sign(label - 0.5) != np.sign(without - 0.5))
    order = np.argsort(-np.where(flipped, shift, -1.0), kind="stable")[
        : min(num_examples, int(flipped.sum()))
    ]
    pair_ids = rows.column("pair_id")
    return LabelsWithout(
        num_labels=int(has_it.sum()),
        num_alone=int((has_it & ~both).sum()),
        num_flipped=int(flipped.sum()),
        num_moved=int((both & (shift > 0)).sum()),
        mean_shift=float(shift[both].mean()) if both.any() else None,
        examples=tuple((pair_ids[int(i)].as_py(), float(label[i]), float(without[i])) for i in order),
    )


def compare_labels_without_judge(
    folders: Mapping[str, Path], judge: str, *, settings: Mapping[str, Any], num_examples: int = 5
) -> LabelsWithout:
    """Computes what each label would have been without a judge, by combining the other members of the jury.

    Weights estimated from the judges' agreement are estimated again without that judge.

    Args:
        folders: A folder of each of `constitution`, `prompts`, `sampled_responses`, `judgements`, `ai_preferences`.
        judge: The judge's name.
        settings: The settings by which the labels were made, as in their recipe.
        num_examples: The largest number of examples.
    """
    labels = {
        row["pair_id"]: row["p_a"]
        for row in stream_table(folders[AI_PREFERENCES] / PREFERENCES_TABLE, ["pair_id", "p_a"])
    }
    has_it: set[str] = set()

    def leave_out() -> Iterator[Verdict]:
        for verdict in read_bare_verdicts(folders[JUDGEMENTS]):
            if verdict.judge != judge:
                yield verdict
            elif verdict.probability_a is not None and verdict.pair_id in labels:
                has_it.add(verdict.pair_id)

    result = aggregate_verdicts(
        leave_out(),
        constitution=read_constitution(folders[CONSTITUTION]),
        prompts=stream_table(folders[PROMPTS] / PROMPTS_TABLE),
        responses=stream_table(
            folders[SAMPLED_RESPONSES] / RESPONSES_TABLE, ["response_id", "text", "finish_reason"]
        ),
        settings=PreferenceSettings.model_validate(settings["preferences"]),
        protocol=settings["protocol"],
        jury=Jury.from_verdicts(settings["combine"], leave_out()),
    )
    without = {row["pair_id"]: row["p_a"] for row in result.rows if row["pair_id"] in has_it}
    flips = {
        pair: abs(labels[pair] - p_a) for pair, p_a in without.items() if lean(labels[pair]) != lean(p_a)
    }
    shifts = [abs(labels[pair] - p_a) for pair, p_a in without.items()]
    largest = sorted(flips, key=lambda pair: (-flips[pair], pair))[:num_examples]
    return LabelsWithout(
        num_labels=len(has_it),
        num_alone=len(has_it) - len(without),
        num_flipped=len(flips),
        num_moved=sum(shift > 0 for shift in shifts),
        mean_shift=sum(shifts) / len(shifts) if shifts else None,
        examples=tuple((pair, labels[pair], without[pair]) for pair in largest),
    )
