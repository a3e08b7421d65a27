"""`rlaif gc`: frees disk space. Versions that something needs always stay."""

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.bars import show_progress
from rlaif_dagster.lineage.collecting.collect import apply_collection, plan_collection
from rlaif_dagster.lineage.project import Project


def gc_command(root: Path, keep: Sequence[str], *, apply: bool, as_json: bool) -> None:
    """Prints which versions nothing needs, and removes their bytes if asked to.

    Raises:
        RlaifError: If a rule is wrong, a run is in progress, or the ledger or the store is damaged.
    """
    project = Project.open(root)
    collect = apply_collection if apply else plan_collection
    with show_progress("rlaif gc"):
        collection = collect(project, keep, now=datetime.datetime.now(datetime.UTC))
    console = Console(stderr=as_json)
    table = Table("asset", "versions kept", "pruned" if apply else "would be pruned")
    kept, pruned = (
        Counter(version.asset for version in versions) for versions in (collection.kept, collection.pruned)
    )
    for asset in dict.fromkeys((*kept, *pruned)):
        table.add_row(asset, str(kept[asset]), str(pruned[asset]))
    console.print(table)
    for version in collection.pruned:
        console.print(f"  {version.asset}@{version.digest.removeprefix('sha256:')[:12]}", soft_wrap=True)
    verb = "removed" if apply else "would be removed (nothing was changed; --apply does it)"
    console.print(
        f"{len(collection.objects):,} objects, {collection.num_bytes:,} bytes {verb}", soft_wrap=True
    )
    if as_json:
        pruned_versions = [version.model_dump() for version in collection.pruned]
        typer.echo(
            json.dumps({"applied": apply, **dataclasses.asdict(collection), "pruned": pruned_versions})
        )
