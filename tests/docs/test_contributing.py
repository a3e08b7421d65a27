"""What CONTRIBUTING.md says of the repository is so."""

import re

import pytest

from tests.conftest import LONGEST
from tests.docs.pages import REPOSITORY
from tests.docs.test_pages import find_anchors

PAGE = REPOSITORY / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| (an? [\w ]+) \| `[^`]+` \| (\d)(?:: ([^|]+))? \| (\d)(?:: ([^|]+))? \|$", re.MULTILINE
)
ROWS = _ROW.findall(TEXT)


def test_the_table_names_each_kind_of_thing() -> None:
    assert [kind for kind, *_ in ROWS] == [
        "an input field",
        "a check",
        "a command",
        "a policy method",
        "a judge provider",
        "an asset",
        "a judge template",
        "a proof",
        "a page",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_example_names_as_many_files_as_it_says_and_they_exist(row: tuple[str, ...]) -> None:
    _, num_inside, inside, num_beside, beside = row
    package = REPOSITORY / "rlaif_dagster"
    for number, text, root in ((num_inside, inside, package), (num_beside, beside, REPOSITORY)):
        files = re.findall(r"`([^`]+)`", text)
        assert len(files) == int(number)
        assert [name for name in files if not (root / name).is_file()] == []


def test_the_files_that_start_first_exist() -> None:
    assert [name for name in LONGEST if not (REPOSITORY / name).is_file()] == []


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        path = REPOSITORY / file if file else PAGE
        assert path.exists(), target
        assert not anchor or anchor in find_anchors(path), target
