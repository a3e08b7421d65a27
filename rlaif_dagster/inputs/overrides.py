"""Failed checks that a person lets pass: `inputs/overrides.yaml`, written by `rlaif override`."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

from rlaif_dagster.digest import Digest
from rlaif_dagster.reader import read_yaml

OVERRIDES_FILE: Final = "inputs/overrides.yaml"


def _check_digest(text: str) -> str:
    return str(Digest.parse(text))


def _check_reason(text: str) -> str:
    if not text.strip():
        raise ValueError(
            "the reason is empty; remedy: write why, for the person who reads the record in a year"
        )
    return text.strip()


DigestText = Annotated[str, AfterValidator(_check_digest)]
"""A digest in full, `sha256:<64 hex digits>`."""

Reason = Annotated[str, AfterValidator(_check_reason)]
"""Why the person decided this; not empty."""


class Override(BaseModel):
    """One failed check of one version that a person lets pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    asset: str
    """The asset that failed the check."""
    digest: DigestText
    """Its version. Another version needs its own override."""
    check: str
    reason: Reason

    @property
    def key(self) -> tuple[str, str, str]:
        """What it overrides, regardless of the reason."""
        return self.asset, self.digest, self.check


class OverridesFile(BaseModel):
    """`inputs/overrides.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    overrides: list[Override] = []

    @field_validator("overrides")
    @classmethod
    def _refuse_repeated(cls, overrides: list[Override]) -> list[Override]:
        keys = [override.key for override in overrides]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(
                    f"the check {key[2]} of {key[0]} {key[1]} is overridden twice; remedy: keep one entry"
                )
        return overrides


def read_overrides(root: Path) -> tuple[Override, ...]:
    """Reads the overrides of a project; none if there is no file.

    Raises:
        InputError: If the file is wrong.
    """
    file = root / OVERRIDES_FILE
    return tuple(read_yaml(file, OverridesFile).overrides) if file.exists() else ()
