"""The samplers: ways to obtain responses, one per module, found by listing this package.

Each module defines `SETTINGS`, its section of `inputs/pipeline.yaml`: a `PolicySampling`, which samples the
project's policy, or settings that name a recorded file.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from rlaif_dagster.generation.settings import ResponsesSettings
from rlaif_dagster.registry import collect

if TYPE_CHECKING:
    SamplingSettings = ResponsesSettings
else:
    SamplingSettings = Annotated[
        Union[collect("rlaif_dagster.generation.samplers", "SETTINGS")],  # noqa: UP007 - built, not written
        Field(discriminator="provider"),
    ]
    """The settings of a sampler; `provider` says which."""
