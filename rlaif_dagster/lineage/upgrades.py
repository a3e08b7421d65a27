"""Finds the recipes of earlier releases whose versions are still valid; `graph.upgrades` lists them."""

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError
from rlaif_dagster.graph.upgrades import FORMER_RECIPES, FormerRecipe, always
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A current recipe as an earlier release wrote it.

    Attributes:
        recipe: The earlier recipe.
        steps: The steps back, newest first, each with the settings as they were written before it.
    """

    recipe: Recipe
    steps: tuple[tuple[FormerRecipe, Any], ...] = ()


def find_former_recipes(recipe: Recipe, *, for_rows: bool = False) -> Iterator[Former]:
    """Yields a recipe as each earlier release wrote it, newest first; only settings and `code_version` differ.

    Args:
        recipe: The current recipe.
        for_rows: Also yield recipes of which only rows may be reused.
    """
    todo = deque([Former(recipe=recipe)])
    seen = {recipe.digest}
    while todo:
        later = todo.popleft()
        for step in FORMER_RECIPES.get(recipe.asset.rpartition("/")[2], ()):
            written = step.write(later.recipe.code_version, later.recipe.settings)
            if written is None or (step.keeps == "rows" and not for_rows):
                continue
            code_version, settings = written
            former = later.recipe.model_copy(update={"code_version": code_version, "settings": settings})
            if former.digest not in seen:
                seen.add(former.digest)
                todo.append(Former(recipe=former, steps=(*later.steps, (step, settings))))
                yield todo[-1]


def read_earlier_settings(old: Recipe, today: Recipe) -> tuple[Any, dict[str, str]]:
    """Reads the settings of an earlier recipe under their current names, and the renamed ones by their old name.

    Args:
        old: The recipe, written by any release.
        today: The current recipe of the same asset.
    """
    for former in find_former_recipes(today, for_rows=True):
        if former.recipe.code_version != old.code_version:
            continue
        settings, renamed = old.settings, dict[str, str]()
        for step, _ in reversed(former.steps):
            settings = None if settings is None else step.read(settings)
            renamed |= step.renamed
        if settings is not None:
            return settings, renamed
    return old.settings, {}


def stands(project: Project, former: Former, record: MaterialisationRecord, *, fetch: bool) -> bool:
    """Decides whether the current code would make the same version as a former recipe.

    Args:
        project: The project.
        former: How the recipe was written.
        record: A record of that recipe.
        fetch: Take files that are not here from the DVC remote. If False, a remote is trusted to have them.
    """
    if record.is_stopped:
        return False  # it costs nothing to make, and there is nothing to check
    store = project.store
    looks_at_inputs = any(step.holds is not always for step, _ in former.steps)
    read = record.inputs if looks_at_inputs else {}
    refs = {"output": record.output, **{f"inputs/{name}": ref for name, ref in read.items()}}
    if not fetch and not all(store.has(ref.md5) for ref in refs.values()):
        return store.has_remote
    with tempfile.TemporaryDirectory(prefix="rlaif-upgrade-") as work:
        folder = Path(work)
        for name, ref in refs.items():
            try:
                if store.verify(ref.md5, Digest.parse(ref.digest)) is None:
                    return False
            except CorruptVersionError:
                return False  # the audit reports the damage
            store.view(ref.md5, folder / name)
        inputs = {name: folder / "inputs" / name for name in read}
        return all(step.holds(folder / "output", inputs, settings) for step, settings in former.steps)
