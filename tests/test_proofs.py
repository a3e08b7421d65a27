"""Each part of `make prove` is complete, and `make test` holds its law at the smallest size."""

import ast

import pytest

from proofs.__main__ import REPOSITORY, format_table, list_parts, load_part, replace_section

PAGE = "# Proofs\n\nText.\n"


@pytest.mark.parametrize("name", list_parts())
def test_a_part_names_a_test_of_its_law_that_exists(name: str) -> None:
    part = load_part(name)
    assert callable(part.prove)
    path, _, function = part.SMALL_TEST.partition("::")
    tree = ast.parse((REPOSITORY / path).read_text())
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_a_table_replaces_the_one_before_and_leaves_the_others() -> None:
    page = replace_section(replace_section(PAGE, "one", "first"), "two", "second")
    again = replace_section(page, "one", "third \\1")
    assert "first" not in again
    assert "third \\1" in again
    assert again.startswith(PAGE)
    assert again.index("third") < again.index("second")
    assert replace_section(again, "one", "first") == page


def test_rows_become_a_table_and_no_rows_are_no_proof() -> None:
    rows = [{"kills": "3", "lost": "0"}, {"kills": "4", "lost": "0"}]
    assert format_table(rows) == "| kills | lost |\n| --- | --- |\n| 3 | 0 |\n| 4 | 0 |"
    with pytest.raises(ValueError, match="at least one row"):
        format_table([])
