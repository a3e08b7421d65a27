"""The module that Dagster loads: the assets of the project in `RLAIF_PROJECT`, or else in the current folder."""

from rlaif_dagster.defs.build import build_definitions
from rlaif_dagster.lineage.project import find_root

defs = build_definitions(find_root())
