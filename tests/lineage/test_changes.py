"""The table in docs/plan.md is what happens: each change is made, planned and run, and held against its row.

After a wanted change: python -m tests.lineage.test_changes
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlaif_dagster.graph.price import Range
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult
from tests.docs.pages import DOCS, read_table
from tests.lineage.changes import CHANGES
from tests.lineage.tiny_project import bring_up_to_date, build_tiny_graph

pytestmark = pytest.mark.slow

HEADING = "What a change costs"
NUM_KINDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a plan said of a change, and what the run then did."""

    plan: Plan
    outcomes: dict[str, MaterialiseResult]

    @property
    def computed(self) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome.status == "computed"]

    def count(self, asset: str, name: str) -> int:
        """A count of the run; 0 where it did not compute the asset."""
        return self.outcomes[asset].record.counts[name] if asset in self.computed else 0

    def tell(self, change: str) -> dict[str, str]:
        """The row of the table."""
        calls = next(item.price.judge_calls for item in self.plan.assets if item.asset == "judgements")
        cut_off = [item.asset for item in self.plan.stale if item.asset not in self.computed]
        return {
            "change": change,
            "computed": _list(self.computed),
            "stale, but cut off early": _list(cut_off),
            "responses sampled": str(self.count("sampled_responses", "num_sampled")),
            "verdicts asked": str(self.count("judgements", "judge_calls_asked")),
            "verdicts planned": _word(calls),
            "verdicts reused": str(self.count("judgements", "judge_calls_reused")),
        }


def measure_change(change: str, base: Path, folder: Path) -> Measured:
    """Makes a change on a copy of the base, plans, and runs."""
    shutil.copytree(base, folder)
    project = Project.open(folder)
    CHANGES[change](folder / "inputs")
    plan = make_plan(project, build_tiny_graph(project))
    return Measured(plan=plan, outcomes=bring_up_to_date(project))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_what_the_plan_and_the_page_say(change: str, tiny_base: Path, tmp_path: Path) -> None:
    measured = measure_change(change, tiny_base, tmp_path / "project")
    rows = {row["change"]: row for row in read_table("plan.md", below=HEADING).rows}
    assert measured.tell(change) == rows[change]
    planned = {
        status: {item.asset for item in measured.plan.assets if item.status == status}
        for status in ("fresh", "computed", "perhaps")
    }
    assert planned["computed"] <= set(measured.computed) <= planned["computed"] | planned["perhaps"]
    prices = {item.asset: item.price for item in measured.plan.assets}
    rows_price, calls_price = prices["sampled_responses"], prices["judgements"]
    assert contains(rows_price.rows_sampled, measured.count("sampled_responses", "num_sampled"))
    assert rows_price.rows_reused == measured.count("sampled_responses", "num_reused")
    assert contains(calls_price.judge_calls, measured.count("judgements", "judge_calls_asked"))
    assert calls_price.judge_calls_reused == measured.count("judgements", "judge_calls_reused")
    assert all(item.causes for item in measured.plan.stale)


def contains(span: Range, number: int) -> bool:
    return span.max is not None and span.min <= number <= span.max


def test_the_page_tells_every_change_and_no_other() -> None:
    told = read_table("plan.md", below=HEADING).cells("change")
    assert told == list(CHANGES)
    assert len(told) >= NUM_KINDS


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _word(span: Range) -> str:
    return f"{span.min:g}" if span.min == span.max else f"{span.min:g} to {span.max:g}"


def write_page(base: Path, scratch: Path) -> None:
    """Measures every change, and puts the table into the page."""
    rows = [
        measure_change(change, base, scratch / str(number)).tell(change)
        for number, change in enumerate(CHANGES)
    ]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    page = DOCS / "plan.md"
    before, heading, after = page.read_text().partition(f"\n## {HEADING}\n")
    page.write_text(before + heading + re.sub(r"^(?:\|.*\n)+", lambda _: table, after, count=1, flags=re.M))


if __name__ == "__main__":
    from tests.lineage.tiny_project import make_base

    with tempfile.TemporaryDirectory() as folder:
        write_page(make_base(Path(folder) / "base"), Path(folder))
