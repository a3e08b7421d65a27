"""The policy methods, one module each, found by listing this package.

Each module defines `SETTINGS`, its section of `inputs/pipeline.yaml`, and `METHOD`, which makes a TRL trainer for the
same loop (`training.policy`). Modules are imported without torch, so that a plan is quick.
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
    """The settings of a policy method; `method` says which."""


def find_method(settings: AlignmentSettings) -> Method[Any]:
    """Finds the method to which settings belong.

    Raises:
        TypeError: If no method has such settings.
    """
    for method in collect("rlaif_dagster.training.methods", "METHOD"):
        if isinstance(method, Method) and method.settings is type(settings):
            return method
    raise TypeError(f"no method has settings of the type {type(settings).__name__}")
