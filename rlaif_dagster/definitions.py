"""What Dagster loads: the assets of the project that `RLAIF_PROJECT` names, or else of the current folder."""

from rlaif_dagster.defs.build import build_definitions
from rlaif_dagster.lineage.project import find_root

defs = build_definitions(find_root())
