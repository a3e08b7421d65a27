"""A difference from 0.1.0 that is not stated is found, whatever it is in."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.upgrade import rows

TABLE = "ai_preferences/preferences.parquet"
HELD_OUT = "evaluation/comparisons.parquet"
BEFORE: dict[str, Any] = {
    "weights": {"reward_model/model.safetensors": "w"},
    "tables": {
        TABLE: rows.describe_rows([{"pair_id": "x", "p_a": 0.9}, {"pair_id": "y", "p_a": 0.1}]),
        HELD_OUT: rows.describe_rows([{"base_text": "a", "aligned_text": "b"}]),
    },
}
NOW = copy.deepcopy(BEFORE)
NOW["tables"][TABLE] = rows.describe_rows(
    [
        {"pair_id": "x", "p_a": 0.9, "finish_reason_a": None},
        {"pair_id": "y", "p_a": 0.1, "finish_reason_a": 1},
    ]
)
NOW["tables"][HELD_OUT] = rows.describe_rows([{"base_text": "a", "aligned_text": "c"}])


def test_columns_that_are_stated_may_be_new_and_draws_that_are_stated_may_be_others() -> None:
    assert rows.find_differences(NOW, BEFORE) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda now: now["weights"].clear(), "reward_model/model.safetensors: other weights, or none"),
        (lambda now: now["weights"].update(more="w"), "more: new weights"),
        (
            lambda now: now["tables"].update({TABLE: rows.describe_rows([{"pair_id": "x", "p_a": 0.9}])}),
            f"{TABLE}: 1 rows, and 2 in 0.1.0",
        ),
        (lambda now: now["tables"][TABLE]["columns"].update(p_a=""), f"{TABLE}: other values of p_a"),
        (lambda now: now["tables"][TABLE]["columns"].update(new=""), f"{TABLE}: new is new"),
        (lambda now: now["tables"][TABLE]["columns"].pop("p_a"), f"{TABLE}: p_a is gone"),
        (lambda now: now["tables"].pop(TABLE), f"{TABLE}: p_a is gone"),
        (
            lambda now: now["tables"][HELD_OUT]["columns"].update(base_text=""),
            f"{HELD_OUT}: other values of base_text",
        ),
    ],
)
def test_any_other_difference_is_found(change: Callable[[dict[str, Any]], object], found: str) -> None:
    now = copy.deepcopy(NOW)
    change(now)
    assert found in rows.find_differences(now, BEFORE)


def test_a_renamed_column_is_compared_under_its_name_of_today() -> None:
    before, now = copy.deepcopy(BEFORE), copy.deepcopy(NOW)
    before["tables"][TABLE]["columns"]["gold"] = "x"
    columns = now["tables"][TABLE]["columns"]
    columns["ground_truth"] = "x"
    assert rows.find_differences(now, before) == []
    columns["ground_truth"] = ""
    assert rows.find_differences(now, before) == [f"{TABLE}: other values of ground_truth"]
