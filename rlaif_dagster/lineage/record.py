"""The record of one materialisation: immutable, self-describing, named by the digest of its own bytes."""

import datetime
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlaif_dagster.digest import Digest, FolderManifest, JsonValue, canonical_json
from rlaif_dagster.errors import LedgerError
from rlaif_dagster.former_names import update_fields
from rlaif_dagster.inputs.overrides import Override

FORMAT = 1
"""Version of the records' JSON format."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(_Value):
    """Everything that decides an output's content."""

    asset: str
    code_version: str
    settings: Any
    inputs: dict[str, str]
    engine: dict[str, str]

    @property
    def digest(self) -> Digest:
        """The recipe's identity."""
        return Digest.from_json(self.model_dump())


class VersionRef(_Value):
    """A version of an asset by both of its addresses."""

    digest: str
    md5: str


class FileRef(_Value):
    """One file of an output."""

    path: str
    size: int
    sha256: str


class Output(VersionRef):
    """What was materialised."""

    size: int
    files: tuple[FileRef, ...]


class RecordedCheck(_Value):
    """The result of a check of the output."""

    name: str
    passed: bool
    blocking: bool
    facts: dict[str, Any]


class GitRef(_Value):
    """The state of the project's git repository."""

    commit: str | None
    dirty: bool | None


class MaterialisationRecord(_Value):
    """One materialisation.

    `previous` names the records that were newest when this one was written: the records form a hash chain, in which a
    changed or missing record is detected. `sequence` is one more than the highest among `previous`. Times are UTC.

    The last three fields are left out of the JSON while they are empty, so that records of earlier versions of this
    package keep their bytes. `former_recipe` is the recipe with which the version was made, if an earlier release
    wrote it differently from `recipe`; see `lineage.upgrades`.
    """

    format: Literal[1] = 1
    sequence: int
    previous: tuple[str, ...]
    asset: str
    recipe: str
    recipe_parts: Recipe
    inputs: dict[str, VersionRef]
    output: Output
    rows: int | None
    counts: dict[str, int]
    metrics: dict[str, Any]
    checks: tuple[RecordedCheck, ...]
    libraries: dict[str, str]
    git: GitRef
    run_id: str | None
    started_at: datetime.datetime
    ended_at: datetime.datetime
    reused_from: str | None
    overrides: tuple[Override, ...] = Field(default=(), exclude_if=lambda overrides: not overrides)
    reason: str | None = Field(default=None, exclude_if=lambda reason: reason is None)
    former_recipe: str | None = Field(default=None, exclude_if=lambda recipe: recipe is None)

    def to_bytes(self) -> bytes:
        """The bytes of the file: canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def record_id(self) -> str:
        """64 hex digits: sha256 of the file's bytes."""
        return Digest.from_bytes(self.to_bytes()).sha256

    @property
    def figures(self) -> dict[str, Any]:
        """The metrics under today's names."""
        return update_fields(self.metrics)

    @property
    def failed_gates(self) -> tuple[str, ...]:
        """Names of the blocking checks that failed."""
        return tuple(check.name for check in self.checks if check.blocking and not check.passed)

    @property
    def made_by(self) -> str:
        """The recipe with which the version was made, as it was written then."""
        return self.former_recipe or self.recipe

    @property
    def is_stopped(self) -> bool:
        """Whether the asset was not made because the round had stopped before it; the output says only why."""
        return self.rows == 0 and "stopped" in self.metrics

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> "MaterialisationRecord":
        """Reads a record from the bytes of its file.

        Args:
            data: The bytes.
            name: What to call the record in an error.

        Raises:
            LedgerError: If the bytes are not a record.
        """
        try:
            return cls.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise LedgerError(
                f"{name} is not a lineage record ({error}).\n"
                "  remedy: restore the file from git, a backup or the remote"
            ) from error


Records = Mapping[str, MaterialisationRecord]
"""Records by id, oldest first."""


def describe_output(manifest: FolderManifest, md5: str) -> Output:
    """Makes the part of the record that describes the output."""
    return Output(
        digest=str(manifest.digest),
        md5=md5,
        size=manifest.size,
        files=tuple(
            FileRef(path=file.path, size=file.size, sha256=file.digest.sha256) for file in manifest.files
        ),
    )


def canonical_settings(settings: JsonValue) -> Any:
    """Converts settings through JSON (tuples become lists), so that a recipe equals its copy in the ledger."""
    return json.loads(canonical_json(settings))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a mapping through JSON."""
    plain_values: dict[str, Any] = json.loads(canonical_json(values))
    return plain_values
