"""Defines what can be traced, and the content of a trace."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import work_folder
from rlaif_dagster.lineage.services import view_version

SUBJECTS = ("pair", "response", "principle", "judge")
"""The kinds of row that can be traced, as in `pair:ID`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One version in a trace.

    Attributes:
        asset: The asset.
        digest: The version.
        inputs: Digest of each version that it was made from.
        settings: The settings in its recipe.
        ended_at: When it was made or reused, in UTC.
    """

    asset: str
    digest: str
    inputs: Mapping[str, str]
    settings: JsonValue
    ended_at: str

    @classmethod
    def from_record(cls, record: MaterialisationRecord) -> "Step":
        """Makes the step of a record."""
        return cls(
            asset=record.asset,
            digest=record.output.digest,
            inputs={name: ref.digest for name, ref in record.inputs.items()},
            settings=record.recipe_parts.settings,
            ended_at=record.ended_at.isoformat(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is known about a subject.

    Attributes:
        subject: The name that the user gave.
        facts: What it is and what it did; JSON.
        made_from: The versions that it was made from, sources first.
        went_into: The versions made from it, oldest first.
    """

    subject: str
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    made_from: tuple[Step, ...] = ()
    went_into: tuple[Step, ...] = ()


@contextmanager
def open_versions(project: Project, **records: MaterialisationRecord) -> Iterator[dict[str, Path]]:
    """Opens verified versions as folders, by name, while the context lasts.

    Raises:
        CorruptVersionError: If stored bytes are not those recorded.
        StorageError: If they are not available.
    """
    with work_folder(project) as work:
        folders = {name: work / name for name in records}
        for name, record in records.items():
            view_version(project, record, folders[name])
        yield folders


def short(digest: str) -> str:
    """Shortens a digest to its first digits, for people."""
    return Digest.parse(digest).short
