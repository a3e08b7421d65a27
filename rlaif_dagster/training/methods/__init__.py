"""The methods of aligning a policy, one a module, found by listing this package.

Each module defines `SETTINGS`, its section of `inputs/pipeline.yaml`, and `METHOD`, how it trains: it makes a trainer
of TRL for the same loop (`training.policy`). Modules are imported without torch, so that a plan is quick.
"""

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from rlaif_dagster.registry import collect
from rlaif_dagster.training.method import Method
from rlaif_dagster.training.settings import AlignmentSettings

if TYPE_CHECKING:
    PolicySettings = AlignmentSettings
else:
    PolicySettings = Annotated[
        Union[collect("rlaif_dagster.training.methods", "SETTINGS")],  # noqa: UP007 - built, not written
        Field(discriminator="method"),
    ]
    """The settings of a method, told apart by `method`."""


def find_method(settings: AlignmentSettings) -> Method[Any]:
    """The method that settings belong to.

    Raises:
        TypeError: If no method has such settings.
    """
    for method in collect("rlaif_dagster.training.methods", "METHOD"):
        if isinstance(method, Method) and method.settings is type(settings):
            return method
    raise TypeError(f"no method has settings of the type {type(settings).__name__}")
