"""Settings of releases: the section `release` of `inputs/pipeline.yaml`, and the hold in `inputs/release.yaml`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.overrides import DigestText, Reason
from rlaif_dagster.reader import read_yaml

RELEASE_FILE: Final = "inputs/release.yaml"


class ReleaseSettings(BaseModel):
    """What a policy must pass to be released."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    require: list[str] = ["win_rate_over_half"]
    """Checks of the evaluation that must have passed, besides the blocking checks of every asset."""


class HoldSettings(BaseModel):
    """An earlier release that stays current, whatever is built."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    release: DigestText
    """The digest of that version of `released_policy`."""
    reason: Reason


class ReleaseFile(BaseModel):
    """`inputs/release.yaml`, written by `rlaif rollback` and removed by `rlaif release`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hold: HoldSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The content of `inputs/release.yaml` when the inputs were read; without settings nothing is held."""

    file: Path
    settings: HoldSettings | None

    @classmethod
    def read(cls, root: Path) -> "Hold":
        """Reads the hold of a project; without the file there is none.

        Raises:
            InputError: If the file is wrong.
        """
        file = root / RELEASE_FILE
        return cls(file=file, settings=read_yaml(file, ReleaseFile).hold if file.exists() else None)

    def require_unchanged(self) -> None:
        """Refuses to continue if the file has changed since.

        Raises:
            InputError: If the file has changed.
        """
        if Hold.read(self.file.parent.parent) != self:
            raise InputError(
                "the hold was changed during the run; the release is unchanged",
                file=self.file,
                field="hold",
                remedy="run again",
            )
