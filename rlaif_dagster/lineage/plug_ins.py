"""Finds the distribution of a plug-in that is no longer installed, in the records of what was made with it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import LedgerError, MissingPlugInError
from rlaif_dagster.judging.settings import PLUG_IN
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.names import CRITIC, EVALUATION_JUDGE, JUDGE

_SOURCES: Final = (JUDGE, EVALUATION_JUDGE, CRITIC)
"""The assets whose recipes name plug-ins."""


def add_origin(error: MissingPlugInError, ledger: Ledger) -> MissingPlugInError:
    """Returns the same error; its remedy names the distribution to install, if a record has it."""
    try:
        for asset in _SOURCES:
            for record in ledger.find_asset(asset):
                for origin in _find_origins(record.recipe_parts.settings, error.field_name, error.name):
                    wanted = f"{origin['distribution']}=={origin['version']}"
                    made = f"{record.asset}@{Digest.parse(record.output.digest).short}"
                    return error.with_remedy(
                        f"pip install '{wanted}', with which {made} was made; or {error.remedy}"
                    )
    except LedgerError:
        pass  # a damaged ledger is another error, and no reason to hide this one
    return error.with_remedy(f"{error.remedy}; or install the distribution that offers it")


def _find_origins(settings: JsonValue, field: str, name: str) -> Iterator[Mapping[str, Any]]:
    """Yields the origin of each description in a recipe that names a plug-in."""
    if isinstance(settings, Mapping):
        origin = settings.get(PLUG_IN)
        if settings.get(field) == name and isinstance(origin, Mapping):
            yield origin
        for value in settings.values():
            yield from _find_origins(value, field, name)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _find_origins(value, field, name)
