"""The table in docs/plan.md is what happens: each change is made, planned and run, and held against its row.

After a wanted change: python -m tests.lineage.test_changes
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlaif_dagster.graph.price import Range
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import Outcome
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
    outcomes: dict[str, Outcome]

    @property
    def computed(self) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome.status == "computed"]

    def count(self, asset: str, name: str) -> int:
        """A count of the run; 0 where it did not compute the asset."""
        return self.outcomes[asset].record.counts[name] if asset in self.computed else 0

    def price(self, asset: str, name: str) -> Range:
        found: Range = getattr(next(item.price for item in self.plan.assets if item.asset == asset), name)
        return found

    def tell(self, change: str) -> dict[str, str]:
        """The row of the table."""
        cut_off = [item.asset for item in self.plan.stale if item.asset not in self.computed]
        return {
            "change": change,
            "computed": _list(self.computed),
            "stale, but cut off early": _list(cut_off),
            "responses sampled": str(self.count("sampled_responses", "num_sampled")),
            "verdicts asked": str(self.count("judgements", "judge_calls_asked")),
            "verdicts planned": _word(self.price("judgements", "judge_calls")),
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
    for asset, name, count, reused in (
        ("sampled_responses", "rows_sampled", "num_sampled", "num_reused"),
        ("judgements", "judge_calls", "judge_calls_asked", "judge_calls_reused"),
    ):
        price = measured.price(asset, name)
        assert price.max is not None
        assert price.min <= measured.count(asset, count) <= price.max
        foretold = {item.asset: item.price for item in measured.plan.assets}[asset]
        assert getattr(
            foretold, name.replace("sampled", "reused") if "rows" in name else f"{name}_reused"
        ) <= (measured.count(asset, reused))
    assert all(item.causes for item in measured.plan.stale)


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
    rows = []
    for number, change in enumerate(CHANGES):
        rows.append(measure_change(change, base, scratch / str(number)).tell(change))
        print(rows[-1], file=sys.stderr)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    page = DOCS / "plan.md"
    before, heading, after = page.read_text().partition(f"\n## {HEADING}\n")
    page.write_text(before + heading + re.sub(r"^(?:\|.*\n)+", lambda _: table, after, count=1, flags=re.M))


if __name__ == "__main__":
    from tests.lineage.tiny_project import make_base

    with tempfile.TemporaryDirectory() as folder:
        write_page(make_base(Path(folder) / "base"), Path(folder))
