"""Optional libraries: the extras of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlaif_dagster.errors import MissingExtraError

STANDARDS: Final = "standards"
"""The extra with the libraries for lineage formats and signatures."""


@contextmanager
def using_extra(extra: str) -> Iterator[None]:
    """Says which extra to install if a library that is imported in the context is missing.

    Raises:
        MissingExtraError: If one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"this needs the library {error.name}, which is not installed.\n"
            f"  remedy: pip install 'rlaif-dagster[{extra}]'"
        ) from error
