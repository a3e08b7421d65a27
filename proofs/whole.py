"""Tests that `make test` runs at their smallest size, at their whole one: more kills, larger projects.

These are the tests that ask for the fixture `whole`; each is the smallest size of its own law.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parent.parent
SMALL_TEST: Final = (
    "tests/acceptance/test_determinism.py::test_two_projects_with_the_same_inputs_have_the_same_digests"
)


def prove() -> list[dict[str, str]]:
    """Runs the tests; raises if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--whole", "-q", f"--junitxml={report}"]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        return [
            {
                "test": f"`{case.get('classname', '').rsplit('.')[-1]}::{case.get('name')}`",
                "seconds": f"{float(case.get('time', 0)):.0f}",
            }
            for case in ET.parse(report).iter("testcase")  # noqa: S314 - our own report
        ]
