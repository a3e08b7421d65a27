"""Finds why a version is out of date: what people or upgrades changed, and where.

Compares the parts of the recipe that made the version with those of the current recipe. If an input differs, the same
question is asked about that input: the version that was read is compared with the current one. So a cause is always a
root cause, even if assets in between were brought up to date one by one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.changes import Change, diff_values, join_path
from rlaif_dagster.graph.price import Foreseen
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.recall import NUMERICS_PREFIX, OPEN_ROWS, list_unasked, make_recipe
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One change that makes assets stale.

    Attributes:
        asset: The asset whose own recipe it changes.
        path: Where the change was made: `FILE: FIELD`, `library NAME`, or `code of ASSET`.
        old: The old value, or None.
        new: The new value, or None.
    """

    asset: str
    path: str
    old: JsonValue
    new: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseFinder:
    """Finds root causes in one graph.

    Attributes:
        graph: The current stages.
        ledger: The records.
        heads: The newest record of each asset.
        expected: What is known about each asset's next version, by asset; filled while the plan is made.
        open_version: Returns a folder with a recorded version, or None.
        found: Causes found before.
    """

    graph: Graph
    ledger: Ledger
    heads: Mapping[str, MaterialisationRecord]
    expected: Mapping[str, Foreseen]
    open_version: Callable[[MaterialisationRecord], Path | None]
    found: dict[tuple[str, str, str], tuple[Cause, ...]] = field(default_factory=dict)

    def find(self, name: str, old: MaterialisationRecord | None) -> tuple[Cause, ...]:
        """Lists the root causes that separate an asset's version from its next one, upstream first, each once."""
        if old is None:
            return (Cause(asset=name, path=f"{name}: never materialised", old=None, new=None),)
        key = (name, old.recipe, old.output.digest)
        if key not in self.found:
            causes = [*self._find_upstream(name, old), *self._find_own(self.graph[name], old)]
            if not causes:
                expected = self.expected[name].digest
                reason = "made again, with other bytes" if expected else "its bytes are in no store"
                if old.counts.get(OPEN_ROWS):
                    reason = f"{old.counts[OPEN_ROWS]} rows without a result are tried again"
                if unasked := list_unasked(self.graph[name], old):
                    reason = f"made before the check {', '.join(unasked)} existed"
                causes = [Cause(asset=name, path=f"{name}: {reason}", old=old.output.digest, new=expected)]
            self.found[key] = tuple({(cause.asset, cause.path): cause for cause in causes}.values())
        return self.found[key]

    def _find_upstream(self, name: str, old: MaterialisationRecord) -> Iterator[Cause]:
        for parent in self.graph[name].inputs:
            digest = old.recipe_parts.inputs.get(parent)
            expected = self.expected[parent].digest
            if digest is None or expected == digest:
                continue
            read = self._find_version(parent, digest)
            if read is not None:
                yield from self.find(parent, read)
            else:
                yield Cause(asset=parent, path=parent, old=digest, new=expected)

    def _find_own(self, stage: Stage, old: MaterialisationRecord) -> Iterator[Cause]:
        before, now = old.recipe_parts, make_recipe(stage, {})
        changes = [
            *self._diff_settings(stage, old, now),
            *diff_values(before.code_version, now.code_version, f"code of {stage.name}"),
        ]
        for library in dict.fromkeys((*before.engine, *now.engine)):
            place = (
                join_path(f"{PIPELINE_FILE}: numerics", library.removeprefix(NUMERICS_PREFIX))
                if library.startswith(NUMERICS_PREFIX)
                else f"library {library}"
            )
            changes += diff_values(before.engine.get(library), now.engine.get(library), place)
        for change in changes:
            yield Cause(asset=stage.name, path=change.path, old=change.old, new=change.new)

    def _diff_settings(self, stage: Stage, old: MaterialisationRecord, now: Recipe) -> Iterator[Change]:
        before, after = old.recipe_parts.settings, now.settings
        if before == after:
            return
        if stage.planning.compare is not None:
            folders = self.open_version(old), self.expected[stage.name].open()
            if folders[0] is not None and folders[1] is not None:
                yield from stage.planning.compare(folders[0], folders[1])
                return
        origins = stage.planning.origins
        for key in dict.fromkeys((*before, *after)):
            place = origins.get(key) or join_path(origins.get("", f"{PIPELINE_FILE}:"), key)
            yield from diff_values(before.get(key), after.get(key), place)

    def _find_version(self, asset: str, digest: str) -> MaterialisationRecord | None:
        """Finds the newest record of a version. Tries the asset's newest record first, so others are rarely read."""
        head = self.heads.get(asset)
        if head is not None and head.output.digest == digest:
            return head
        return next((one for one in self.ledger.find_asset(asset) if one.output.digest == digest), None)
