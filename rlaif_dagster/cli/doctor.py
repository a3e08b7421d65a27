"""`rlaif doctor`: says what is wrong with the install or the project, and how to fix it."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.console import Console
from rich.markup import escape

from rlaif_dagster.errors import PlugInError, RlaifError

MIN_FREE_BYTES = 2 * 1024**3
ANTLR = Requirement("antlr4-python3-runtime>=4.9,<4.14")
"""The antlr4 release that Dagster's text selections need; DVC requires another one (decision 0008)."""
TESTED_FILE = files("rlaif_dagster") / "tested_versions.txt"
"""The versions of this package's direct dependencies in `requirements.lock`; a test keeps both equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        subject: What was checked.
        found: What was found.
        remedy: What to do, if it is wrong.
        note: What is worth knowing although nothing is wrong.
    """

    subject: str
    found: str
    remedy: str | None = None
    note: str | None = None


def doctor_command(root: Path) -> int:
    """Prints every finding; returns 1 if something is wrong, else 0 (notes do not count)."""
    console = Console()
    findings = [
        *_check_python(),
        *_check_libraries(),
        *_check_plug_ins(),
        *_check_tools(),
        *_check_project(root),
    ]
    for finding in findings:
        mark = (
            "[red]wrong[/]" if finding.remedy else "[yellow]note[/] " if finding.note else "[green]ok[/]   "
        )
        note = f", {finding.note}" if finding.note else ""
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.found + note)}", soft_wrap=True)
        if finding.remedy:
            console.print(f"        remedy: {escape(finding.remedy)}", soft_wrap=True)
    return int(any(finding.remedy for finding in findings))


def _check_python() -> Iterator[Diagnosis]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Diagnosis(subject="python", found=version, remedy="install Python 3.11 or newer" if old else None)


def _check_libraries() -> Iterator[Diagnosis]:
    tested = read_tested_versions()
    for text in importlib.metadata.requires("rlaif-dagster") or []:
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield check_library(requirement, tested)
    yield check_library(ANTLR, tested={})


def read_tested_versions() -> dict[str, str]:
    """Reads the library versions that this release was tested with, by canonical name."""
    lines = TESTED_FILE.read_text().split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def check_library(requirement: Requirement, tested: Mapping[str, str]) -> Diagnosis:
    """Checks that a library is installed, in the required range, and of the tested release (such as 5.23.x)."""
    name = requirement.name
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(subject=name, found="not installed", remedy=f"pip install '{requirement}'")
    if not requirement.specifier.contains(found, prereleases=True):
        return Diagnosis(subject=name, found=found, remedy=f"pip install '{requirement}'")
    return Diagnosis(
        subject=name, found=found, note=compare_release(found, tested.get(canonicalize_name(name)))
    )


def compare_release(found: str, tested: str | None) -> str | None:
    """Says whether a release is newer or older than the tested one; None if neither, or if none was tested."""
    if tested is None:
        return None
    here, there = ((version.major, version.minor) for version in (Version(found), Version(tested)))
    if here == there:
        return None
    return f"{'newer' if here > there else 'older'} than the tested {there[0]}.{there[1]}.x"


def _check_plug_ins() -> Iterator[Diagnosis]:
    """Says which plug-ins there are, and what is wrong with those that cannot be used."""
    from rlaif_dagster.judging.settings import JUDGES

    usable = []
    try:
        names = JUDGES.list_names()
    except PlugInError as error:
        yield Diagnosis(subject=f"{JUDGES.noun}s", found=error.problem, remedy=error.remedy)
        return
    for name in names:
        try:
            JUDGES.load(name)
            usable.append(JUDGES.describe_plug_in(name))
        except PlugInError as error:
            yield Diagnosis(subject=f"{JUDGES.noun} {name}", found=error.problem, remedy=error.remedy)
    yield Diagnosis(subject=f"{JUDGES.noun}s", found=", ".join(usable))


def _check_tools() -> Iterator[Diagnosis]:
    git = shutil.which("git")
    yield Diagnosis(subject="git", found=git or "not found", remedy=None if git else "install git")


def _check_project(root: Path) -> Iterator[Diagnosis]:
    from rlaif_dagster.lineage.project import Project

    try:
        project = Project.open(root)
    except RlaifError as error:
        yield Diagnosis(
            subject="project", found=str(error).split("\n", maxsplit=1)[0], remedy="see `rlaif init --help`"
        )
        return
    yield Diagnosis(subject="project", found=str(project.root))
    try:
        graph = project.build_graph()
        yield Diagnosis(subject="inputs", found=f"valid, {len(graph)} assets")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Diagnosis(subject="inputs", found=problem, remedy=remedy or "correct the file")
    try:
        yield Diagnosis(subject="ledger", found=f"{len(project.ledger.records())} records")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Diagnosis(subject="ledger", found=problem, remedy=remedy)
    try:
        project.store.read_pinned()
        yield Diagnosis(subject="data.dvc", found="readable")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Diagnosis(subject="data.dvc", found=problem, remedy=remedy)
    writable = os.access(project.root, os.W_OK)
    yield Diagnosis(
        subject="folder",
        found="writable" if writable else "not writable",
        remedy=None if writable else f"make {project.root} writable",
    )
    free = shutil.disk_usage(project.root).free
    yield Diagnosis(
        subject="disk",
        found=f"{free / 1024**3:.1f} GiB free",
        remedy="free at least 2 GiB" if free < MIN_FREE_BYTES else None,
    )
