"""Plans a run: what it would do, why, and what it would cost. Changes nothing.

The plan walks the graph as `materialise` does, upstream first. If the versions of all inputs are certain, so is the
recipe: the newest version has it (`fresh`), another version has it (`reused`), or it will be `computed`. A reused
version is certain again. So is the version of a cheap stage, which the plan computes in a temporary folder: if an edit
leaves an asset's bytes unchanged, the plan knows that the edit has no effect further downstream.

Downstream of an expensive stage there are two cases. In one, everything that is made again has the same bytes as
before, so the run stops early; in the other, it has not. An asset that is computed only in the second case is `perhaps`
computed. The two cases give the lower and the upper bound of the price.
"""

import functools
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.build import Graph, with_ancestors
from rlaif_dagster.graph.price import NOTHING, Foreseen, Price, PriceContext, Range, add_prices
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext
from rlaif_dagster.lineage.causes import Cause, CauseFinder
from rlaif_dagster.lineage.gates import list_failed
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe, RecordedCheck
from rlaif_dagster.lineage.reuse import (
    find_journal,
    find_reusable,
    list_unasked,
    make_recipe,
    run_checks,
)
from rlaif_dagster.lineage.services import find_earlier
from rlaif_dagster.names import JUDGE

PlannedStatus = Literal["fresh", "reused", "computed", "stopped", "perhaps", "blocked"]
"""`stopped`: not made, because its round stopped before it; `perhaps`: computed, unless what it reads comes out
unchanged; `blocked`: a check upstream failed."""

UNFORESEEN = Foreseen()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAsset:
    """What a run will do with one asset.

    Attributes:
        asset: The asset.
        status: What the run will do with it.
        causes: The root causes that reach it, upstream first; empty if it is fresh.
        price: What it will spend.
        blocked_by: The failed checks that prevent it from being made, as `asset: check`.
    """

    asset: str
    status: PlannedStatus
    causes: tuple[Cause, ...]
    price: Price
    blocked_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run of some assets, and of everything that they are made from, will do; upstream first."""

    assets: tuple[PlannedAsset, ...]

    @property
    def stale(self) -> tuple[PlannedAsset, ...]:
        """The assets whose newest version is, or may be, out of date."""
        return tuple(item for item in self.assets if item.status != "fresh")

    @property
    def fresh(self) -> tuple[PlannedAsset, ...]:
        """The assets whose newest version is up to date."""
        return tuple(item for item in self.assets if item.status == "fresh")

    @property
    def price(self) -> Price:
        """What the whole run will spend."""
        return add_prices(item.price for item in self.assets)


def make_plan(project: Project, graph: Graph, assets: Sequence[str] = (), *, priced: bool = True) -> Plan:
    """Plans a run of assets and of everything that they are made from.

    Args:
        project: The project.
        graph: Its graph, built from the current inputs.
        assets: Names; all assets if empty.
        priced: Compute prices; without them a plan takes less time.

    Raises:
        InputError: If an asset does not exist, or an input's content is wrong.
        LedgerError: If the ledger is damaged.
        StorageError: If the store cannot be read.
    """
    unknown = sorted(set(assets) - set(graph))
    if unknown:
        raise InputError(
            f"there is no asset {unknown[0]!r}", file=project.root, remedy=f"name one of {', '.join(graph)}"
        )
    with tempfile.TemporaryDirectory(prefix="rlaif-plan-") as folder:
        planner = _Planner(project=project, graph=graph, folder=Path(folder), priced=priced)
        return Plan(assets=tuple(planner.plan(graph[name]) for name in with_ancestors(graph, assets)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """The expected state of an asset in one case; `output` is None if it will be computed and is not known."""

    status: Literal["fresh", "reused", "computed", "stopped"]
    output: Foreseen | None = None
    price: Price = NOTHING
    failed: tuple[RecordedCheck, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Planner:
    """Walks the graph, and keeps the expected version of each visited asset in both cases."""

    project: Project
    graph: Graph
    folder: Path
    priced: bool
    heads: dict[str, MaterialisationRecord] = field(init=False)
    finder: CauseFinder = field(init=False)
    same: dict[str, Foreseen] = field(default_factory=dict)
    new: dict[str, Foreseen] = field(default_factory=dict)
    expected: dict[str, Foreseen] = field(default_factory=dict)
    failed: dict[str, tuple[RecordedCheck, ...]] = field(default_factory=dict)
    shut: dict[str, tuple[str, ...]] = field(default_factory=dict)
    views: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heads = self.project.ledger.find_heads()
        self.finder = CauseFinder(
            graph=self.graph,
            ledger=self.project.ledger,
            heads=self.heads,
            expected=self.expected,
            open_version=self._view,
        )

    def plan(self, stage: Stage) -> PlannedAsset:
        blocked_by = tuple(
            dict.fromkeys(gate for name in stage.inputs for gate in self._find_shut(stage, name))
        )
        if blocked_by:
            status, price = self._block(stage, blocked_by)
        else:
            status, price = self._foresee(stage)
        causes = () if status == "fresh" else self.finder.find(stage.name, self.heads.get(stage.name))
        return PlannedAsset(
            asset=stage.name, status=status, causes=causes, price=price, blocked_by=blocked_by
        )

    def _find_shut(self, stage: Stage, parent: str) -> Iterator[str]:
        """Yields the failed checks that prevent a stage from reading an input."""
        yield from self.shut[parent]
        for check in self.failed[parent]:
            if check.blocking or check.name in stage.governance.requires.get(parent, ()):
                yield f"{parent}: {check.name}"

    def _block(self, stage: Stage, gates: tuple[str, ...]) -> tuple[PlannedStatus, Price]:
        self.shut[stage.name], self.failed[stage.name] = gates, ()
        self.same[stage.name] = self.new[stage.name] = self.expected[stage.name] = UNFORESEEN
        return "blocked", NOTHING

    def _foresee(self, stage: Stage) -> tuple[PlannedStatus, Price]:
        name = stage.name
        same_inputs = {parent: self.same[parent] for parent in stage.inputs}
        new_inputs = {parent: self.new[parent] for parent in stage.inputs}
        low = high = self._look_ahead(stage, same_inputs)
        if new_inputs != same_inputs:
            high = self._look_ahead(stage, new_inputs)
        told = low.price.output or (None, UNFORESEEN), high.price.output or (None, UNFORESEEN)
        head = self.heads.get(name)
        self.same[name] = low.output or told[0][0] or (UNFORESEEN if head is None else self._describe(head))
        self.new[name] = high.output or told[1][1]
        self.expected[name] = self.new[name] if low is high else UNFORESEEN
        self.shut[name], self.failed[name] = (), low.failed if low is high else ()
        price = Price(
            rows_sampled=low.price.rows_sampled.cover(high.price.rows_sampled),
            rows_reused=min(low.price.rows_reused, high.price.rows_reused),
            judge_calls=low.price.judge_calls.cover(high.price.judge_calls),
            judge_calls_reused=min(low.price.judge_calls_reused, high.price.judge_calls_reused),
            tokens=_span(low.price.tokens, high.price.tokens),
            cost=_span(low.price.cost, high.price.cost),
            currency=low.price.currency or high.price.currency,
        )
        if low is high or low.status == "computed":
            return low.status, price
        return "perhaps", price

    def _look_ahead(self, stage: Stage, inputs: Mapping[str, Foreseen]) -> _Outlook:
        digests = {name: version.digest for name, version in inputs.items() if version.digest is not None}
        recipe = make_recipe(stage, digests)
        certain = len(digests) == len(inputs)
        record = self._find_reusable(stage, recipe) if certain else None
        if record is not None:
            head = self.heads[stage.name]
            is_head = (head.recipe, head.output.digest) == (str(recipe.digest), record.output.digest)
            unasked = list_unasked(stage, record)
            checks = (*record.checks, *self._ask_later(stage, record, inputs, unasked))
            return _Outlook(
                status="fresh" if is_head and not unasked else "reused",
                output=self._describe(record),
                failed=list_failed(stage, record.output.digest, checks),
            )
        if certain and stage.computing.is_idle(_open(inputs)):
            return replace(self._preview(stage, inputs), status="stopped")
        if certain and stage.computing.cheap:
            return self._preview(stage, inputs)
        price = NOTHING
        if self.priced and stage.planning.price is not None:
            head_record = self.heads.get(stage.name)
            price = stage.planning.price(
                PriceContext(
                    inputs=inputs,
                    head=lambda: None if head_record is None else self._view(head_record),
                    journal=find_journal(self.project, recipe),
                    earlier_versions=functools.partial(self._view_earlier, stage, recipe),
                    counts=self._find_counts(stage, recipe),
                )
            )
        return _Outlook(status="computed", price=price)

    def _find_counts(self, stage: Stage, recipe: Recipe) -> Mapping[str, int] | None:
        """Finds the counts of the newest version for which the same judge was asked, made by any code."""
        for record in find_earlier(self.project, stage, recipe, of_any_code=True):
            same_judge = record.recipe_parts.inputs.get(JUDGE) == recipe.inputs.get(JUDGE)
            if same_judge and record.counts.get("judge_calls_asked"):
                return record.counts
        return None

    def _find_reusable(self, stage: Stage, recipe: Recipe) -> MaterialisationRecord | None:
        store = self.project.store
        records = find_reusable(self.project, stage, recipe, fetch=False)
        return next((record for record in records if store.has(record.output.md5) or store.has_remote), None)

    def _ask_later(
        self,
        stage: Stage,
        record: MaterialisationRecord,
        inputs: Mapping[str, Foreseen],
        names: Collection[str],
    ) -> tuple[RecordedCheck, ...]:
        """Makes the checks that did not exist when a version was made; none if its files are not available."""
        output, folders = (self._view(record), _open(inputs)) if names else (None, {})
        if output is None or len(folders) < len(inputs):
            return ()
        return tuple(run_checks(stage, output, folders, names))

    def _preview(self, stage: Stage, inputs: Mapping[str, Foreseen]) -> _Outlook:
        """Computes a cheap stage; the outcome is unknown if an input's files are not available."""
        folders = _open(inputs)
        if len(folders) < len(inputs):
            return _Outlook(status="computed")
        output, scratch = (self.folder / f"{stage.name}-{kind}" for kind in ("output", "scratch"))
        for folder in (output, scratch):
            folder.mkdir(parents=True)
        stage.compute(
            StageContext(
                inputs=folders,
                digests={name: Digest.parse(version.digest or "") for name, version in inputs.items()},
                output=output,
                scratch=scratch,
                journal=scratch,
                attempt="plan",
                services=NoHistory(),
                preview=True,
            )
        )
        digest = str(FolderManifest.from_folder(output).digest)
        return _Outlook(
            status="computed",
            output=Foreseen(digest, lambda: output),
            failed=list_failed(stage, digest, run_checks(stage, output, folders)),
        )

    def _describe(self, record: MaterialisationRecord) -> Foreseen:
        return Foreseen(record.output.digest, lambda: self._view(record))

    def _view(self, record: MaterialisationRecord) -> Path | None:
        """Opens a folder that shows a version without verifying its bytes; None if they are not here."""
        md5 = record.output.md5
        if md5 not in self.views and self.project.store.has(md5):
            self.views[md5] = self.folder / f"version-{len(self.views)}"
            self.project.store.view(md5, self.views[md5])
        return self.views.get(md5)

    def _view_earlier(self, stage: Stage, recipe: Recipe, *, of_any_code: bool = False) -> Iterator[Path]:
        for record in find_earlier(self.project, stage, recipe, of_any_code=of_any_code):
            folder = self._view(record)
            if folder is not None:
                yield folder


def _open(inputs: Mapping[str, Foreseen]) -> dict[str, Path]:
    """The folders of the versions whose files are available."""
    opened = {name: version.open() for name, version in inputs.items()}
    return {name: folder for name, folder in opened.items() if folder is not None}


def _span(low: Range | None, high: Range | None) -> Range | None:
    """The range that covers both cases; None if one is unknown."""
    return None if low is None or high is None else low.cover(high)
