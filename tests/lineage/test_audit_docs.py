"""docs/audit.md: every kind of finding is told, and every statement has a test or a reason."""

import ast
import re
from pathlib import Path

from rlaif_dagster.lineage.auditing.findings import KINDS
from tests.docs.pages import read_page, read_table

from .audited_projects import STORE

PROVES = "What this proves, and what it does not"
_TEST = re.compile(r"`(test_\w+)`")


def list_tests() -> set[str]:
    return {
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_kind_of_finding_is_told() -> None:
    rows = read_table("audit.md", below="Findings").rows
    assert {row["kind"].strip("`"): row["meaning"] for row in rows} == dict(KINDS)


def test_every_kind_of_finding_is_tested() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_audit_*.py"))
    texts += Path(__file__).with_name("test_audit.py").read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in texts] == []


def test_every_statement_has_a_test_or_a_reason() -> None:
    known = list_tests()
    for row in read_table("audit.md", below=PROVES).rows:
        tests = _TEST.findall(row["test or reason"])
        reason = _TEST.sub("", row["test or reason"])
        assert set(tests) <= known, row
        assert row["proven"] in ("yes", "partly", "no"), row
        assert tests if row["proven"] != "no" else not tests, row
        assert row["proven"] == "yes" or len(reason) > 40, row


def test_the_rules_name_the_thresholds() -> None:
    from rlaif_dagster.judging import copies
    from rlaif_dagster.lineage.auditing import contents

    rules = read_page("audit.md", below="Rules for copies")
    assert all(f"`{suffix}`" in rules for suffix in contents.DATA_SUFFIXES)
    assert f"at least {copies.MIN_TELLING_ROWS} of them" in rules
    assert f"{copies.MIN_COPIED_SHARE * 10:.0f} of 10 equal" in rules
    assert f"{copies.MIN_PLAIN_ROWS} or more, all equal" in rules


def test_the_store_is_where_the_formats_page_says() -> None:
    assert f"`{STORE}/" in read_page("formats.md")
