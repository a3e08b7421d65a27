"""Reads a project's releases from the ledger: which policy was released, when and why, and which one is held."""

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, StorageError
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.versions import find_ancestors, find_version
from rlaif_dagster.names import ALIGNED_POLICY, RELEASED_POLICY

_BACK = re.compile(r"-(\d{1,6})")
_NUMBER = re.compile(r"#?(\d{1,3})")
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release.

    Attributes:
        number: 1 for the first; a policy that is released again later gets another number.
        record: The record of the release.
        rests_on: Overrides of failed checks, anywhere upstream.
    """

    number: int
    record: MaterialisationRecord
    rests_on: tuple[Override, ...]

    @property
    def digest(self) -> Digest:
        """The digest of this version of `released_policy`."""
        return Digest.parse(self.record.output.digest)

    @property
    def facts(self) -> dict[str, Any]:
        """The content of `release.json`."""
        return self.record.metrics

    @property
    def policy(self) -> Digest:
        """The digest of the version of `aligned_policy` that was released."""
        return Digest.parse(self.facts["policy"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """One decision to go back to an earlier release."""

    digest: Digest
    when: datetime.datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHistory:
    """All releases and rollbacks of a project.

    Attributes:
        releases: The releases, oldest first.
        current: The current release, or None before the first.
        held: Why the current release is held; None if the next policy that passes replaces it.
        rollbacks: The rollbacks, oldest first.
    """

    releases: tuple[Release, ...]
    current: Release | None
    held: str | None
    rollbacks: tuple[Rollback, ...]

    @classmethod
    def from_records(cls, records: Sequence[MaterialisationRecord]) -> "ReleaseHistory":
        """Reads the history.

        Args:
            records: The ledger's records, oldest first.
        """
        releases: list[Release] = []
        rollbacks: list[Rollback] = []
        standing, held = None, None
        overridden = any(record.overrides for record in records)
        for record in (record for record in records if record.asset == RELEASED_POLICY):
            digest = Digest.parse(record.output.digest)
            if record.reason is None:
                if not releases or releases[-1].digest != digest:
                    makers = find_ancestors(records, record) if overridden else ()
                    overrides = [override for maker in makers for override in maker.overrides]
                    releases.append(
                        Release(
                            number=len(releases) + 1, record=record, rests_on=tuple(dict.fromkeys(overrides))
                        )
                    )
            elif (digest, record.reason) != (standing, held):
                rollbacks.append(Rollback(digest=digest, when=record.ended_at, reason=record.reason))
            standing, held = digest, record.reason
        return cls(
            releases=tuple(releases),
            current=next((release for release in reversed(releases) if release.digest == standing), None),
            held=held,
            rollbacks=tuple(rollbacks),
        )

    def find(self, target: str | None, *, root: Path) -> Release:
        """Finds the release that the user names.

        Args:
            target: Its number; `-1`, `-2`, ... to count back from the current release; or the first hex digits of its
                digest or of its policy's. None is `-1`.
            root: The project's folder.

        Raises:
            InputError: If there is no such release, or there are several.
        """
        text = "-1" if target is None else target
        place = self.releases.index(self.current) if self.current else 0
        found: Iterable[Release] = ()
        if match := _BACK.fullmatch(text):
            back = int(match[1])
            found = self.releases[place - back : place - back + 1] if back <= place else ()
        elif match := _NUMBER.fullmatch(text):
            found = [release for release in self.releases if release.number == int(match[1])]
        elif match := _PREFIX.fullmatch(text):
            found = {
                release.digest: release
                for release in self.releases
                if match[1]
                in (release.digest.sha256[: len(match[1])], release.policy.sha256[: len(match[1])])
            }.values()
        match list(found):
            case [release]:
                return release
            case []:
                problem = f"there is no release {text!r}" + (
                    f" before the current one, number {place + 1}" if text.startswith("-") else ""
                )
                remedy = "name one that `rlaif releases` lists, by number or digest"
            case several:
                problem = f"{text!r} names several releases: {', '.join(map(_name, several))}"
                remedy = "give more of the digest, or the number"
        raise InputError(problem, file=root, remedy=remedy)


def find_policy(project: Project, release: Release) -> MaterialisationRecord:
    """Finds the newest record of the policy that a release points to.

    Raises:
        InputError: If the ledger does not have it.
    """
    return find_version(project, f"{release.facts.get('asset', ALIGNED_POLICY)}@{release.policy.sha256}")


def require_sound(project: Project, release: Release) -> None:
    """Makes sure that a release and its policy are available and as recorded.

    Raises:
        CorruptVersionError: If stored bytes are not those recorded.
        InputError: If the ledger does not have the policy.
        StorageError: If a version is neither here nor in the remote.
    """
    for record in (release.record, find_policy(project, release)):
        if project.store.verify(record.output.md5, Digest.parse(record.output.digest)) is None:
            raise StorageError(
                f"{_name(release)}: {record.asset} {record.output.digest} is neither here nor in a DVC remote.\n"
                "  remedy: add the remote that has it, or name another release"
            )


def _name(release: Release) -> str:
    return f"release {release.number} ({release.digest.short})"
