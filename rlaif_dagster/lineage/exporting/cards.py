"""Writes the card of a version, with the digests of everything that it was made from and of every file."""

from collections.abc import Mapping

from rlaif_dagster.cards.card import CardFacts, Kind, Origin, render_card
from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import InputError
from rlaif_dagster.lineage.exporting.closure import VersionLineage, is_model, name_version_in_full


def export_model_card(lineage: VersionLineage) -> str:
    """Writes a model card.

    Raises:
        InputError: If the version has no weights.
    """
    return _export(lineage, "model")


def export_dataset_card(lineage: VersionLineage) -> str:
    """Writes a dataset card.

    Raises:
        InputError: If the version has no table.
    """
    return _export(lineage, "dataset")


def _export(lineage: VersionLineage, kind: Kind) -> str:
    subject = lineage.subject
    what = {"model": is_model(subject), "dataset": bool(lineage.tables)}
    if not what[kind]:
        others = [f"{name}-card" for name in what if what[name]] or ["another format"]
        raise InputError(
            f"{subject.asset} is not a {'model (no weights)' if kind == 'model' else 'data set (no tables)'}",
            file=lineage.root,
            field="--format",
            remedy=f"take {others[0]}",
        )
    figures: Mapping[str, JsonValue] = {**subject.counts, **subject.figures}
    return render_card(
        CardFacts(
            title=subject.asset,
            kind=kind,
            description=f"The version `{subject.output.digest}`.",
            figures=figures,
            tables=tuple(table.path for table in lineage.tables),
            origin=Origin(
                made_from={name: ref.digest for name, ref in sorted(subject.inputs.items())},
                settings=subject.recipe_parts.settings,
                lineage=tuple(
                    item
                    for record in lineage.records
                    for item in (
                        (name_version_in_full(record), Digest.parse(record.output.digest).sha256),
                        *(
                            (f"{name_version_in_full(record)}/{file.path}", file.sha256)
                            for file in record.output.files
                        ),
                    )
                ),
            ),
        )
    )
