"""Recipes of earlier releases whose versions still stand; `graph.upgrades` says which."""

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError
from rlaif_dagster.graph.upgrades import FORMER_RECIPES, FormerRecipe
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A recipe of today as earlier releases wrote it.

    Attributes:
        recipe: The recipe then.
        steps: The steps back, the newest first, each with the settings as they are written behind it.
    """

    recipe: Recipe
    steps: tuple[tuple[FormerRecipe, Any], ...] = ()


def find_former_recipes(recipe: Recipe, *, for_rows: bool = False) -> Iterator[Former]:
    """Yields a recipe as each earlier release wrote it, the newest first; only settings and `code_version` differ.

    Args:
        recipe: The recipe of today.
        for_rows: Yield those as well of which only rows may be reused.
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


def read_settings(old: Recipe, today: Recipe) -> tuple[Any, dict[str, str]]:
    """The settings of an earlier recipe under the names of today, and which these are, by the name then.

    Args:
        old: The recipe, written by any release.
        today: A recipe of the same asset, as it is written today.
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
    """Whether today's code would make the version of a former recipe as it is.

    Args:
        project: The project.
        former: How the recipe was written.
        record: A record of that recipe.
        fetch: Take files that are not here from the DVC remote. Without it they are taken to say yes.
    """
    if record.is_stopped:
        return False  # said at no cost, and there is nothing to look at
    store = project.store
    refs = {"output": record.output, **{f"inputs/{name}": ref for name, ref in record.inputs.items()}}
    if not fetch and not all(store.has(ref.md5) for ref in refs.values()):
        return store.has_remote
    with tempfile.TemporaryDirectory(prefix="rlaif-upgrade-") as work:
        folder = Path(work)
        for name, ref in refs.items():
            try:
                if store.verify(ref.md5, Digest.parse(ref.digest)) is None:
                    return False
            except CorruptVersionError:
                return False  # the audit names the damage
            store.view(ref.md5, folder / name)
        inputs = {name: folder / "inputs" / name for name in record.inputs}
        return all(step.holds(folder / "output", inputs, settings) for step, settings in former.steps)
