"""The tests of the critical modules notice small changes of them; `make prove PART=mutants` tries all of them."""

import ast
import os
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from proofs.__main__ import REPOSITORY, format_table
from proofs.mutants import (
    EQUIVALENT_FILE,
    MODULES,
    Mutant,
    MutationError,
    copy_tracked_files,
    judge_mutants,
    measure,
    read_equivalent,
    read_rows,
    run_mutmut,
)

REQUIRE_VARIABLE = "RLAIF_REQUIRE_MUTMUT"
needs_mutmut = pytest.mark.skipif(
    REQUIRE_VARIABLE not in os.environ and find_spec("mutmut") is None,
    reason=f"mutmut is not installed; {REQUIRE_VARIABLE}=1 makes that a failure",
)
SURVIVOR = Mutant(function="f", line="a < b", becomes="a <= b", is_wording=False, is_killed=False)
CODE = '''
def clip(value, most):
    """Returns the value, or what is most."""
    if most < 0:
        raise ValueError("most is below zero: name a number from zero")
    return value if value < most else most


class Counter:
    def count(self, number):
        return number + 1
'''
TESTS = """
import pytest
from small.code import Counter, clip


def test_a_value_below_is_itself():
    assert [clip(1, 3), clip(4, 3), clip(5, 0)] == [1, 3, 0]


def test_what_is_below_zero_is_refused():
    with pytest.raises(ValueError, match="below zero"):
        clip(1, -1)
"""


@needs_mutmut
@pytest.mark.slow
def test_the_tests_of_a_module_notice_its_mutants(tmp_path: Path) -> None:
    copy_tracked_files(tmp_path)
    result = measure(tmp_path, "rounds/choice")
    assert result.left == ()
    assert len(result.killed) > 10 * len(result.equivalent)


@needs_mutmut
@pytest.mark.slow
def test_what_no_test_notices_is_found(tmp_path: Path) -> None:
    """`<=` for `<` in the return gives the same; `count` has no test; a message's case is wording."""
    for name, text in (("small/__init__.py", ""), ("small/code.py", CODE), ("tests/test_code.py", TESTS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    mutants = run_mutmut(tmp_path, "small/code.py", ["tests"])
    survivors = [mutant for mutant in mutants if not mutant.is_killed and not mutant.is_wording]
    assert {mutant.key for mutant in survivors} == {
        ("clip", "return value if value < most else most", "return value if value <= most else most"),
        ("Counter.count", "return number + 1", "return number - 1"),
        ("Counter.count", "return number + 1", "return number + 2"),
    }
    assert {mutant.function for mutant in mutants if mutant.is_wording} == {"clip"}
    assert [mutant.line for mutant in mutants if mutant.is_killed and mutant.line.startswith("if most")]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_and_its_tests_exist_and_equivalent_mutants_are_of_its_code(name: str) -> None:
    assert [path for path in MODULES[name] if not (REPOSITORY / path).exists()] == []
    code = (REPOSITORY / "rlaif_dagster" / f"{name}.py").read_text()
    lines = [line.strip() for line in code.splitlines()]
    functions = {
        node.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for function, line, _ in read_equivalent(name):
        assert function.rpartition(".")[2] in functions
        assert set(line.splitlines()) <= set(lines), line


def test_equivalent_mutants_are_of_modules_that_are_tried() -> None:
    listed = tomllib.loads(EQUIVALENT_FILE.read_text()).get("mutant", [])
    assert {entry["module"] for entry in listed} <= set(MODULES)


def test_a_listed_mutant_that_a_test_notices_or_that_is_gone_is_an_error() -> None:
    assert judge_mutants([SURVIVOR], [], 1.0).left == (SURVIVOR,)
    assert judge_mutants([SURVIVOR], [SURVIVOR.key], 1.0).equivalent == (SURVIVOR,)
    for mutants in ([], [replace(SURVIVOR, is_killed=True)]):
        with pytest.raises(MutationError, match="remove the entry"):
            judge_mutants(mutants, [SURVIVOR.key], 1.0)


def test_rows_of_a_page_are_read_as_they_were_written() -> None:
    rows = [{"module": "a", "left": "0"}, {"module": "b", "left": "2"}]
    page = (
        f"| x | y |\n<!-- part: mutants -->\n## mutants\n\n{format_table(rows)}\n<!-- end -->\n| module |\n"
    )
    assert read_rows(page) == {"a": rows[0], "b": rows[1]}
    assert read_rows("# Proofs\n") == {}
