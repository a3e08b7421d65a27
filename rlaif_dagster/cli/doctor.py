"""`rlaif doctor`: what is wrong with the install or the project, and the remedy."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape

from rlaif_dagster.errors import RlaifError

MIN_FREE_BYTES = 2 * 1024**3
ANTLR_MAJOR_MINOR = "4.13"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    found: str
    remedy: str | None = None


def doctor_command(root: Path) -> int:
    """Prints every finding; returns 0 if all is well, else 1."""
    console = Console()
    findings = [*_check_python(), *_check_libraries(), *_check_tools(), *_check_project(root)]
    for finding in findings:
        mark = "[green]ok[/]   " if finding.remedy is None else "[red]wrong[/]"
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.found)}", soft_wrap=True)
        if finding.remedy:
            console.print(f"        remedy: {escape(finding.remedy)}", soft_wrap=True)
    return int(any(finding.remedy for finding in findings))


def _check_python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding(subject="python", found=version, remedy="install Python 3.11 or newer" if old else None)


def _check_libraries() -> Iterator[Finding]:
    for text in importlib.metadata.requires("rlaif-dagster") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                subject=requirement.name, found="not installed", remedy=f"pip install '{requirement}'"
            )
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Finding(
            subject=requirement.name,
            found=found,
            remedy=None if fits else f"pip install '{requirement}'",
        )
    found = importlib.metadata.version("antlr4-python3-runtime")
    fits = found.startswith(ANTLR_MAJOR_MINOR)
    yield Finding(
        subject="antlr4-python3-runtime",
        found=found if fits else f"{found}, with which every text selection of assets in Dagster fails",
        remedy=None
        if fits
        else "pip install --no-deps antlr4-python3-runtime==4.13.2 (DVC works with it too)",
    )


def _check_tools() -> Iterator[Finding]:
    git = shutil.which("git")
    yield Finding(subject="git", found=git or "not found", remedy=None if git else "install git")


def _check_project(root: Path) -> Iterator[Finding]:
    from rlaif_dagster.lineage.project import Project

    try:
        project = Project.open(root)
    except RlaifError as error:
        yield Finding(
            subject="project", found=str(error).split("\n", maxsplit=1)[0], remedy="see `rlaif init --help`"
        )
        return
    yield Finding(subject="project", found=str(project.root))
    try:
        graph = project.build_graph()
        yield Finding(subject="inputs", found=f"valid, {len(graph)} assets")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Finding(subject="inputs", found=problem, remedy=remedy or "correct the file")
    try:
        yield Finding(subject="ledger", found=f"{len(project.ledger.records())} records")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Finding(subject="ledger", found=problem, remedy=remedy)
    try:
        project.store.read_pinned()
        yield Finding(subject="data.dvc", found="readable")
    except RlaifError as error:
        problem, _, remedy = str(error).partition("\n  remedy: ")
        yield Finding(subject="data.dvc", found=problem, remedy=remedy)
    writable = os.access(project.root, os.W_OK)
    yield Finding(
        subject="folder",
        found="writable" if writable else "not writable",
        remedy=None if writable else f"make {project.root} writable",
    )
    free = shutil.disk_usage(project.root).free
    yield Finding(
        subject="disk",
        found=f"{free / 1024**3:.1f} GiB free",
        remedy="free at least 2 GiB" if free < MIN_FREE_BYTES else None,
    )
