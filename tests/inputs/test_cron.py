"""Time tables: what is taken, Dagster can keep; what never comes to pass is refused."""

import datetime
from pathlib import Path

import pytest
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.cron import _LIMITS, is_cron
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from tests.conftest import edit_yaml


def draw_field(low: int, high: int) -> st.SearchStrategy[str]:
    """Fields of which most are right."""
    numbers = st.integers(low, high + 1).map(str)
    ranges = st.one_of(st.just("*"), st.tuples(numbers, numbers).map("-".join))
    steps = st.tuples(ranges, st.integers(0, high).map(str)).map("/".join)
    return st.lists(st.one_of(numbers, ranges, steps), min_size=1, max_size=2).map(",".join)


@given(st.tuples(*(draw_field(*limits) for limits in _LIMITS)).map(" ".join))
def test_dagster_keeps_every_time_table_that_is_taken(text: str) -> None:
    if is_cron(text):
        assert is_valid_cron_string(text)
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
        assert next(iter(schedule_execution_time_iterator(start, text, "UTC")))


@pytest.mark.parametrize(
    "text", ["0 3 * * *", "*/15 * * * *", "0 0 29 2 *", "1-5/2,7 0,12 * 1-6 0", "0 0 30 1,2 *"]
)
def test_usual_time_tables_are_taken(text: str) -> None:
    assert is_cron(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "daily", "@daily", "0 3 * *", "0 3 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *"),
        *("* * * 13 *", "* * * * 7", "*/0 * * * *", "5-1 * * * *", "-1 * * * *", "٣ * * * *"),
        *("0 0 30 2 *", "0 0 31 4,6 *"),
    ],
)
def test_others_are_refused(text: str) -> None:
    assert not is_cron(text)


def test_a_wrong_time_table_is_named_with_file_and_field(default_project: Path) -> None:
    edit_yaml(
        default_project / "inputs" / "pipeline.yaml", lambda p: p.update(automation={"cron": "nightly"})
    )
    with pytest.raises(InputError) as caught:
        ProjectInputs.read(default_project)
    assert caught.value.field == "automation.cron"
    assert "'nightly' is not a schedule" in caught.value.problem
    assert "0 3 * * *" in caught.value.remedy
