"""Libraries that only some people need: the extras of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlaif_dagster.errors import MissingExtraError

STANDARDS: Final = "standards"
"""The extra with the libraries of the formats for lineage, and of signatures."""


@contextmanager
def using_extra(extra: str) -> Iterator[None]:
    """Says which extra to install when a library that is imported inside is not there.

    Raises:
        MissingExtraError: If it is not.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the library {error.name} is not installed, which this needs.\n"
            f"  remedy: pip install 'rlaif-dagster[{extra}]'"
        ) from error
