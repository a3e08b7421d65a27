"""`rlaif doctor` tells what is wrong from what is only untested."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlaif_dagster.cli.doctor import TESTED_FILE, check_library, compare_release, read_tested_versions
from tests.conftest import REPOSITORY, call_rlaif


def read_locked_versions() -> dict[str, str]:
    """The versions of the lock that are of direct dependencies."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    direct = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    lines = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if "==" in line]
    locked = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines)}
    return {name: pin for name, pin in sorted(locked.items()) if name in direct}


def test_the_tested_versions_in_the_package_are_those_of_the_lock() -> None:
    """After a change of the lock: `python -m tests.cli.test_doctor`."""
    assert read_tested_versions() == read_locked_versions()


@pytest.mark.parametrize(
    ("found", "tested", "note"),
    [
        ("5.23.0", "5.23.0", None),
        ("5.23.7", "5.23.0", None),
        ("2.13.0+cpu", "2.13.0", None),
        ("5.24.0", "5.23.0", "newer than the tested 5.23.x"),
        ("6.0.0", "5.23.0", "newer than the tested 5.23.x"),
        ("5.9.1", "5.23.0", "older than the tested 5.23.x"),
        ("1.0", None, None),
    ],
)
def test_another_minor_release_is_named(found: str, tested: str | None, note: str | None) -> None:
    assert compare_release(found, tested) == note


def test_a_version_in_its_range_that_was_not_tested_is_a_note_and_not_wrong() -> None:
    finding = check_library(Requirement("rich>=1"), {"rich": "1.0.0"})
    assert finding.remedy is None
    assert finding.note == "newer than the tested 1.0.x"


def test_a_version_out_of_its_range_and_a_missing_library_are_wrong() -> None:
    assert check_library(Requirement("rich<1"), {}).remedy == "pip install 'rich<1'"
    assert check_library(Requirement("rlaif-no-such-library>=2"), {}).found == "not installed"


def test_doctor_finds_nothing_wrong_with_the_tested_environment(default_project: Path) -> None:
    done = call_rlaif("doctor", project=default_project)
    assert done.returncode == 0
    assert f"ok    transformers: {version('transformers')}" in done.stdout.splitlines()
    assert "wrong" not in done.stdout


if __name__ == "__main__":
    text = "".join(f"{name}=={pin}\n" for name, pin in read_locked_versions().items())
    (REPOSITORY / "rlaif_dagster" / TESTED_FILE.name).write_text(text)
