"""Finds why a version is out of date: what people or upgrades changed, and where.

Compares the parts of the recipe that made the version with those of the current recipe. If an input differs, the same
question is asked about that input: the version that was read is compared with the current one. So a cause is always a
root cause, even if assets in between were brought up to date one by one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.changes import Change, diff_values, join_path
from rlaif_dagster.graph.price import Foreseen
from rlaif_dagster.graph.specs import list_marks
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe
from rlaif_dagster.lineage.reuse import (
    DISTRIBUTION,
    NUMERICS_PREFIX,
    count_retried,
    find_own_release,
    list_unasked,
    make_recipe,
)
from rlaif_dagster.lineage.upgrades import read_earlier_settings

UPGRADED: Final = "recipes changed by the upgrade"
"""The place of a change that an upgrade of this package made, not a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One change that makes assets stale.

    Attributes:
        asset: The asset whose own recipe it changes.
        path: Where the change was made: `FILE: FIELD`, `library NAME`, or `code of ASSET`. It starts with
            `recipes changed by the upgrade from RELEASE to RELEASE: ` if an upgrade made the change.
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
                causes = [self._find_other(name, old)]
            self.found[key] = tuple({(cause.asset, cause.path): cause for cause in causes}.values())
        return self.found[key]

    def _find_other(self, name: str, old: MaterialisationRecord) -> Cause:
        """Finds why a version is out of date although its recipe is current."""
        unasked = list_unasked(self.graph[name], old)
        num_retried = count_retried(self.graph[name], old)
        if unasked and not num_retried:
            return Cause(
                asset=name, path=f"{_word_upgrade(old)}check of {name}", old=None, new=", ".join(unasked)
            )
        expected = self.expected[name].digest
        reason = "made again, with other bytes" if expected else "its bytes are in no store"
        if num_retried:
            reason = f"{num_retried} rows without a result are tried again"
        return Cause(asset=name, path=f"{name}: {reason}", old=old.output.digest, new=expected)

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
        settings, renamed = read_earlier_settings(before, now)
        upgrade = _word_upgrade(old)
        changes = [
            *self._diff_settings(stage, old, settings, now),
            *diff_values(before.code_version, now.code_version, f"{upgrade}code of {stage.name}"),
            *(
                Change(path=f"{upgrade}setting of {stage.name}", old=then, new=today)
                for then, today in renamed.items()
            ),
        ]
        for library in dict.fromkeys((*before.engine, *now.engine)):
            versions = before.engine.get(library), now.engine.get(library)
            if library.startswith(NUMERICS_PREFIX):
                place = join_path(f"{PIPELINE_FILE}: numerics", library.removeprefix(NUMERICS_PREFIX))
            else:
                place = f"{upgrade if None in versions else ''}library {library}"
            changes += diff_values(*versions, place)
        for change in changes:
            yield Cause(asset=stage.name, path=change.path, old=change.old, new=change.new)

    def _diff_settings(
        self, stage: Stage, old: MaterialisationRecord, before: Any, now: Recipe
    ) -> Iterator[Change]:
        after = now.settings
        if before == after:
            return
        if stage.planning.compare is not None:
            folders = self.open_version(old), self.expected[stage.name].open()
            if folders[0] is not None and folders[1] is not None:
                yield from stage.planning.compare(folders[0], folders[1])
                return
        origins, marks = stage.planning.origins, list_marks(stage.identity.spec)
        for key in dict.fromkeys((*before, *after)):
            place = origins.get(key) or join_path(origins.get("", f"{PIPELINE_FILE}:"), key)
            is_optional = key in marks and marks[key].optional
            if not is_optional and (key not in before or key not in after):
                place = f"{_word_upgrade(old)}{place}"  # no edit adds or removes such a field
            yield from diff_values(before.get(key), after.get(key), place)

    def _find_version(self, asset: str, digest: str) -> MaterialisationRecord | None:
        """Finds the newest record of a version. Tries the asset's newest record first, so others are rarely read."""
        head = self.heads.get(asset)
        if head is not None and head.output.digest == digest:
            return head
        return next((one for one in self.ledger.find_asset(asset) if one.output.digest == digest), None)


def _word_upgrade(old: MaterialisationRecord) -> str:
    """Says which other release of this package wrote a recipe; empty if it is the current release."""
    before, now = old.libraries.get(DISTRIBUTION), find_own_release()
    return "" if before in (None, now) else f"{UPGRADED} from {before} to {now}: "
