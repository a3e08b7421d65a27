"""Writes the page of a release: the stored page of its evaluation, with facts from the ledger around it.

The stored page is not changed: without the added parts it is `evaluation/report.html` byte for byte. Like it, the page
loads nothing and runs no script, and the same ledger and signatures give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import StorageError
from rlaif_dagster.evaluation.report import format_share
from rlaif_dagster.former_names import update_fields
from rlaif_dagster.lineage.exporting.closure import VersionLineage, name_version_in_full
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.releases import Release
from rlaif_dagster.lineage.reporting.picture import Node, draw_picture
from rlaif_dagster.lineage.signing import find_signatures
from rlaif_dagster.lineage.tracing.subjects import open_versions
from rlaif_dagster.names import (
    AI_PREFERENCES,
    ALIGNED_POLICY,
    COMPARISONS_TABLE,
    CONSTITUTION,
    CONSTITUTION_JSON,
    EVALUATION,
    JUDGE,
    JUDGE_AUDIT,
    JUDGE_AUDIT_JSON,
    JUDGE_JSON,
    METRICS_JSON,
    RELEASE_JSON,
    RELEASED_POLICY,
    REPORT_HTML,
    REWARD_MODEL,
    SUMMARY_JSON,
    TRAINING_JSON,
)
from rlaif_dagster.pages import open_pages
from rlaif_dagster.stats.intervals import Estimate

_TITLE: Final = "<title>"
_BODY: Final = "<body>\n"
_END: Final = "  <footer>"

_FIGURES: Final = (
    ("Win rates, intervals, lengths, drift", EVALUATION, METRICS_JSON),
    ("Each comparison, side by side", EVALUATION, COMPARISONS_TABLE),
    ("The evaluation's part of this page", EVALUATION, REPORT_HTML),
    ("The constitution", CONSTITUTION, CONSTITUTION_JSON),
    ("The judge", JUDGE, JUDGE_JSON),
    ("The judge's measured quality", JUDGE_AUDIT, JUDGE_AUDIT_JSON),
    ("Pairs, and what was left out and why", AI_PREFERENCES, SUMMARY_JSON),
    ("Training of the reward model", REWARD_MODEL, TRAINING_JSON),
    ("Training of the policy", ALIGNED_POLICY, TRAINING_JSON),
    ("Why it was released", RELEASED_POLICY, RELEASE_JSON),
)
"""What the page shows, with the asset and the file that contain it."""

RECOMPUTE: Final = """\
from pathlib import Path
from rlaif_dagster.evaluation.evaluate import read_comparisons
from rlaif_dagster.evaluation.win_rate import summarise

print(summarise(read_comparisons(Path("evaluation/comparisons.parquet")), confidence={confidence}))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSource:
    """A file with figures, its sha256, and the command that copies it out and verifies it."""

    what: str
    path: str
    sha256: str
    command: str


def report_release(project: Project, release: Release) -> str:
    """Writes the page of a release.

    Raises:
        InputError: If the ledger lacks the release.
        LedgerError: If the ledger is damaged.
        CorruptVersionError: If the evaluation's stored bytes are not those recorded.
        StorageError: If the evaluation is not available, or has no page.
    """
    lineage = VersionLineage.from_project(project, f"{RELEASED_POLICY}@{release.digest.sha256}")
    evaluation = next(
        record for record in lineage.records if record.output.digest == release.facts["evaluation"]
    )
    with open_versions(project, evaluation=evaluation) as folders:
        stored = (folders[EVALUATION] / REPORT_HTML).read_text(encoding="utf-8")
    top, bottom = _render(project, release, lineage, evaluation)
    return splice(stored, title=f"Release {release.number}: ", top=top, bottom=bottom)


def splice(page: str, *, title: str, top: str, bottom: str) -> str:
    """Inserts texts into a page: before its title, at the beginning of its body, and above its footer.

    Raises:
        StorageError: If the page lacks one of these places.
    """
    for mark in (_TITLE, _BODY, _END):
        if page.count(mark) != 1:
            raise StorageError(
                f"{EVALUATION}: its {REPORT_HTML} has no place for a release's part ({mark.strip()} occurs "
                f"{page.count(mark)} times).\n  remedy: run `rlaif run evaluation` with this version of the package"
            )
    page = page.replace(_TITLE, _TITLE + title)
    page = page.replace(_BODY, _BODY + top)
    return page.replace(_END, bottom + _END)


def _render(
    project: Project, release: Release, lineage: VersionLineage, evaluation: MaterialisationRecord
) -> tuple[str, str]:
    environment = open_pages("rlaif_dagster.lineage.reporting")
    confidence = evaluation.metrics.get("confidence", 0.95)
    module = environment.get_template("release.html.jinja").make_module(
        {
            "release": release,
            "promoted": _word_time(release.record),
            "facts": list(_state_facts(project, release)),
            "overrides": release.rests_on,
            "marked": [
                name_version_in_full(record)
                for record in lineage.records
                if record.output.digest == str(release.policy) or record is lineage.subject
            ],
            "picture": draw_picture(_list_nodes(lineage)),
            "commands": list(_list_commands(release, lineage)),
            "sources": list(find_sources(lineage, evaluation)),
            "recompute": RECOMPUTE.format(confidence=confidence),
            "versions": [
                {
                    "asset": record.asset,
                    "digest": record.output.digest,
                    "made": _word_time(record),
                }
                for record in lineage.records
            ],
        }
    )
    return str(module.top()), str(module.bottom())  # type: ignore[attr-defined]


def _state_facts(project: Project, release: Release) -> Iterator[tuple[str, str]]:
    figures: Mapping[str, Any] = update_fields(release.facts["figures"])
    for source, name in (("the judge", "win_rate_judge"), ("the ground truth", "win_rate_ground_truth")):
        if figures.get(name) is not None:
            yield f"win rate by {source}", format_share(Estimate(**figures[name]))
    for name, check in sorted(release.facts["checks"].items()):
        yield f"check {name}", "passed" if check["passed"] else "failed"
    if not release.facts["checks"]:
        yield "checks", "none is required"
    if "round" in release.facts:
        yield "round", f"{release.facts['round']}: {release.facts['reason']}"
    yield "evaluation", release.facts["evaluation"]
    git = release.record.git
    if git.commit is not None:
        yield "git commit", git.commit + (" and changes that were not committed" if git.dirty else "")
    signed = [str(signature.key) for signature in find_signatures(project, release)]
    yield "signed with", ", ".join(signed) if signed else "no key yet (rlaif sign)"


def _list_nodes(lineage: VersionLineage) -> Sequence[Node]:
    return [
        Node(
            name=name_version_in_full(record),
            title=record.asset,
            subtitle=Digest.parse(record.output.digest).short + _word_rows(record),
            reads=tuple(name_version_in_full(parent) for parent in lineage.parents_of(record)),
        )
        for record in lineage.records
    ]


def _word_rows(record: MaterialisationRecord) -> str:
    return "" if record.rows is None else f" · {record.rows:,} rows"


def _list_commands(release: Release, lineage: VersionLineage) -> Iterator[tuple[str, str]]:
    name = name_version_in_full(lineage.subject)
    yield "everything: all bytes, the history, and whether the records agree", f"rlaif audit {name}"
    yield "who signed it", f"rlaif verify {release.number} --key FILE"
    yield "what it was made from", f"rlaif trace {name}"
    yield "a bill of materials with every digest", f"rlaif export {name} --format cyclonedx"


def find_sources(lineage: VersionLineage, evaluation: MaterialisationRecord) -> Iterator[FigureSource]:
    """Yields the files of the release, of its evaluation, and of the assets that the evaluation measured."""
    by_role = {
        record.asset.rpartition("/")[2]: record  # `round_2/aligned_policy` is the aligned policy of round 2
        for record in (*lineage.parents_of(evaluation), evaluation, lineage.subject)
    }
    for what, role, path in _FIGURES:
        files = {file.path: file for file in by_role[role].output.files} if role in by_role else {}
        if path in files:
            yield FigureSource(
                what=what,
                path=f"{role}/{path}",
                sha256=files[path].sha256,
                command=f"rlaif checkout {name_version_in_full(by_role[role])} {role}",
            )


def _word_time(record: MaterialisationRecord) -> str:
    return f"{record.ended_at:%Y-%m-%d %H:%M} UTC"
