"""The export formats by name."""

from collections.abc import Callable, Mapping
from typing import Final

from rlaif_dagster.lineage.exporting.cards import export_dataset_card, export_model_card
from rlaif_dagster.lineage.exporting.closure import VersionLineage
from rlaif_dagster.lineage.exporting.croissant import export_croissant
from rlaif_dagster.lineage.exporting.cyclonedx import export_cyclonedx
from rlaif_dagster.lineage.exporting.intoto import export_intoto
from rlaif_dagster.lineage.exporting.openlineage import export_openlineage
from rlaif_dagster.lineage.exporting.prov import export_prov

FORMATS: Final[Mapping[str, Callable[[VersionLineage], str]]] = {
    "openlineage": export_openlineage,
    "prov": export_prov,
    "cyclonedx": export_cyclonedx,
    "croissant": export_croissant,
    "intoto": export_intoto,
    "model-card": export_model_card,
    "dataset-card": export_dataset_card,
}
