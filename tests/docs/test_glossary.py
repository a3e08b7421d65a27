"""The glossary names code that exists, and each of its terms once."""

import importlib
import re

import pytest

from tests.docs.pages import REPOSITORY, read_page

ROWS = re.findall(r"^\| (?!term \||---)(.+?) \| (.+?) \| `(.+?)` \|$", read_page("glossary.md"), re.MULTILINE)


def find(name: str) -> object:
    """A module, something in it, or an attribute or field of that."""
    parts = name.split(".")
    for place in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:place]))
        except ModuleNotFoundError:
            continue
        for part in parts[place:]:
            found = find_part(found, part)
        return found
    raise AttributeError(name)


def find_part(owner: object, name: str) -> object:
    fields = getattr(owner, "__dataclass_fields__", {})
    return fields[name] if name in fields else getattr(owner, name)


@pytest.mark.parametrize(("term", "name"), [(term, name) for term, _, name in ROWS])
def test_a_term_names_code_that_exists(term: str, name: str) -> None:
    assert find(name) is not None, term


def test_a_term_has_one_sentence_and_stands_once() -> None:
    terms = [term for term, _, _ in ROWS]
    assert len(terms) > 50
    assert len(set(terms)) == len(terms)
    assert [term for term, meaning, _ in ROWS if not re.fullmatch(r"[A-Z`P\d].*[.)]", meaning)] == [
        term for term, meaning, _ in ROWS if meaning.startswith("sha256")
    ]


def test_every_row_of_the_page_is_read() -> None:
    rows = [line for line in read_page("glossary.md").splitlines() if line.startswith("| ")]
    assert len(rows) == len(ROWS) + 3  # the heads of the tables


def test_the_readme_and_the_architecture_lead_to_it() -> None:
    assert "(docs/glossary.md)" in (REPOSITORY / "README.md").read_text()
    assert "(glossary.md)" in read_page("architecture.md")
