"""What a stage's code reaches, on small packages: each kind of change is named, and what cannot matter is not."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.code_versions.reach import reach
from tests.code_versions.record import Acknowledged, Change, acknowledge
from tests.code_versions.source import Source
from tests.code_versions.stages import StageCode

FILES = {
    "__init__.py": '"""A toy."""\n',
    "build.py": '''
        """Builds."""
        from torch import nn
        from trl import Trainer
        from rlaif_dagster import losses
        from rlaif_dagster.judge import Judge, Settings as JudgeSettings
        from rlaif_dagster.registry import collect
        from rlaif_dagster.rows import LIMIT, FIRST, read_rows, write_rows

        PROGRAM = "rlaif_dagster.worker"
        METHODS = {"dpo": losses.dpo}
        if TYPE_CHECKING:
            Found = int
        else:
            Found = collect("rlaif_dagster.methods", "SETTINGS")

        class Soft(Trainer):
            scale = 2

            def compute_loss(self):
                return nn.f(METHODS["dpo"], self.scale)

        def build(inputs: JudgeSettings):
            from rlaif_dagster.late import finish
            run(key=read_rows, then=finish, open=[Judge, Soft, PROGRAM])
            return inputs.model + LIMIT + FIRST + Found

        def run(**more):
            return more["open"][0]().ask(), getattr(more, "by_text")

        def unused():
            return write_rows()
        ''',
    "losses.py": "def dpo():\n    return 1\n\ndef ipo():\n    return 2\n",
    "judge.py": '''
        from dataclasses import dataclass
        from pydantic import BaseModel
        from rlaif_dagster.pages import show

        class Settings(BaseModel):
            model: str = "a"
            unread: int = 1

        @dataclass
        class Judge:
            """A judge."""

            seed: int = 0
            """The seed."""

            def __post_init__(self):
                self.check()

            def check(self): ...

            def ask(self, text: str = "t") -> str:
                """Asks."""
                answer: str = show("page.jinja")  # a comment
                return answer

            def by_text(self):
                return 1

            @property
            def shown(self):
                return 2

            def never(self):
                return 3
        ''',
    "pages.py": "from jinja2 import render\n\ndef show(name):\n    return render(name)\n",
    "page.jinja": "{{ judge.shown }}",
    "other.jinja": "{{ judge.never }}",
    "rows.py": """
        import json as codec

        LIMIT: int = 3
        FIRST, SECOND = 1, 2
        codec.register(LIMIT)

        def read_rows():
            return codec.loads("1")

        def write_rows():
            return codec.dumps(1)
        """,
    "late.py": "def finish():\n    return 1\n",
    "worker.py": "def main():\n    return 1\n",
    "registry.py": "def collect(package, name):\n    return package, name\n",
    "methods/__init__.py": "",
    "methods/rloo.py": "def plan():\n    return 1\n\nSETTINGS = 2\nMETHOD = plan\n",
    "methods/ipo.py": "LOSS = 4\n",
}

Edit = tuple[str, str, str]
"""A file, a text in it, and the text that replaces it."""

CHANGES: dict[str, tuple[Edit, str]] = {
    "a function": (("losses.py", "return 1", "return 3"), "changed: losses.dpo"),
    "a function that is passed as a value": (("rows.py", '"1"', '"2"'), "changed: rows.read_rows"),
    "a function that is imported late": (("late.py", "1", "2"), "changed: late.finish"),
    "a module that is run by its name": (("worker.py", "1", "2"), "changed: worker.main"),
    "a constant with a type": (("rows.py", "= 3", "= 4"), "changed: rows.LIMIT"),
    "one constant of two": (("rows.py", "1, 2", "5, 2"), "changed: rows.FIRST"),
    "what a module does when it is imported": (
        ("rows.py", "register(LIMIT)", "register(4)"),
        "changed: rows.<module>",
    ),
    "the library behind a name": (("rows.py", "json as codec", "yaml as codec"), "rows.read_rows"),
    "the library that a function is from": (("pages.py", "jinja2", "mako"), "changed: pages.show"),
    "a class attribute": (("build.py", "scale = 2", "scale = 3"), "changed: build.Soft"),
    "a method that only a library calls": (
        ("build.py", "nn.f(", "nn.g("),
        "changed: build.Soft",
    ),
    "a method": (("judge.py", '"page.jinja")', '"page.jinja", 1)'), "changed: judge.Judge.ask"),
    "a method that a magic method calls": (
        ("judge.py", "def check(self): ...", "def check(self): return 1"),
        "changed: judge.Judge.check",
    ),
    "a method by its name in a text": (("judge.py", "return 1", "return 4"), "changed: judge.Judge.by_text"),
    "a property that only a template shows": (
        ("judge.py", "return 2", "return 4"),
        "changed: judge.Judge.shown",
    ),
    "a parameter's default": (("judge.py", '"t"', '"u"'), "changed: judge.Judge.ask"),
    "the default of a data class": (("judge.py", "= 0", "= 1"), "changed: judge.Judge"),
    "a model's field": (("judge.py", '"a"', '"b"'), "changed: judge.Settings.model"),
    "the type of a model's field": (
        ("judge.py", "model: str", "model: bytes"),
        "changed: judge.Settings.model",
    ),
    "a template": (("page.jinja", "{{", "- {{"), "changed: rlaif_dagster/page.jinja"),
    "what a registry finds": (
        ("methods/rloo.py", "SETTINGS = 2", "SETTINGS = 3"),
        "changed: methods.rloo.SETTINGS",
    ),
    "another module that a registry finds": (
        ("methods/ipo.py", "LOSS", "SETTINGS"),
        "reached now: methods.ipo.SETTINGS",
    ),
    "another registry": (("build.py", '"SETTINGS"', '"METHOD"'), "reached now: methods.rloo.METHOD"),
    "another function": (("build.py", "= {", "= {'ipo': losses.ipo, "), "reached now: losses.ipo"),
    "one function less": (("build.py", "read_rows, then", "1, then"), "no longer reached: rows.read_rows"),
}
HARMLESS: dict[str, Edit] = {
    "a comment": ("judge.py", "a comment", "another"),
    "a module's docstring": ("build.py", "Builds.", "Makes."),
    "a class's docstring": ("judge.py", "A judge.", "It."),
    "a method's docstring": ("judge.py", "Asks.", "It asks."),
    "an attribute's docstring": ("judge.py", "The seed.", "A seed."),
    "the type of a parameter": ("judge.py", "text: str", "text: bytes"),
    "the type of a result": ("judge.py", "-> str", "-> bytes"),
    "the type of a variable": ("judge.py", "answer: str =", "answer ="),
    "the type of a constant": ("rows.py", "LIMIT: int", "LIMIT"),
    "the layout": ("losses.py", "return 1", "return (\n        1\n    )"),
    "a function that nothing calls": ("rows.py", "codec.dumps(1)", "codec.dumps(2)"),
    "another function of a module that is used": ("losses.py", "return 2", "return 3"),
    "a method that nothing mentions": ("judge.py", "return 3", "return 4"),
    "a field that nothing mentions": ("judge.py", "unread: int = 1", "unread: int = 2"),
    "what a registry does not ask for": ("methods/rloo.py", "return 1", "return 2"),
    "another template": ("other.jinja", "{{", "- {{"),
}


def write_package(root: Path, edits: dict[str, str] | None = None) -> None:
    package = root / "rlaif_dagster"
    package.mkdir(exist_ok=True)
    for name, text in {**FILES, **(edits or {})}.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(dedent(text))


def read_code(root: Path, code_version: str = "1") -> StageCode:
    reached = reach(Source(root, "rlaif_dagster"), ("rlaif_dagster.build", "build"))
    return StageCode(code_version, reached)


def change_by(root: Path, *edits: Edit) -> Change:
    write_package(root)
    before = read_code(root)
    for name, old, new in edits:
        file = root / "rlaif_dagster" / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
    return Change.between(before, read_code(root))


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_named(case: str, tmp_path: Path) -> None:
    edit, told = CHANGES[case]
    assert told in str(change_by(tmp_path, edit))


@pytest.mark.parametrize("case", HARMLESS)
def test_what_cannot_change_a_byte_is_no_change(case: str, tmp_path: Path) -> None:
    assert not change_by(tmp_path, HARMLESS[case])


def test_a_move_is_named_and_changes_nobody_who_uses_it(tmp_path: Path) -> None:
    change = change_by(
        tmp_path,
        ("late.py", "def finish", "def started"),
        ("losses.py", "def ipo", "def finish():\n    return 1\n\ndef ipo"),
        ("build.py", "rlaif_dagster.late", "rlaif_dagster.losses"),
    )
    assert str(change) == "moved, the same: late.finish to losses.finish"


def test_the_same_name_from_another_module_is_another_definition(tmp_path: Path) -> None:
    """Both are reached before and after: only the import tells them apart."""
    build = """
        from rlaif_dagster.MODULE import finish
        from rlaif_dagster import losses, late

        def build():
            return finish(), losses, late
        """
    write_package(
        tmp_path, {"losses.py": "def finish():\n    return 2\n", "build.py": build.replace("MODULE", "late")}
    )
    before = read_code(tmp_path)
    (tmp_path / "rlaif_dagster" / "build.py").write_text(dedent(build.replace("MODULE", "losses")))
    assert str(Change.between(before, read_code(tmp_path))) == "changed: build.build"


def test_an_acknowledgement_needs_a_reason_and_keeps_it(tmp_path: Path) -> None:
    write_package(tmp_path)
    first = read_code(tmp_path)
    assert acknowledge("stage", first, " ", tmp_path) == ""
    assert acknowledge("stage", first, "a new stage", tmp_path) == "a new stage"
    assert acknowledge("stage", first, "nothing changed", tmp_path) == ""
    write_package(tmp_path, {"late.py": "def finish():\n    return 2\n"})
    second = read_code(tmp_path)
    assert acknowledge("stage", second, "", tmp_path) == ""
    assert Acknowledged.read("stage", tmp_path) == Acknowledged(code=first, reason="a new stage")
    assert acknowledge("stage", second, "the number is never shown", tmp_path)
    assert Acknowledged.read("stage", tmp_path).reason == "the number is never shown"


def test_a_raised_code_version_and_a_move_are_reasons(tmp_path: Path) -> None:
    write_package(tmp_path)
    acknowledge("stage", read_code(tmp_path), "a new stage", tmp_path)
    write_package(tmp_path, {"late.py": "def finish():\n    return 2\n"})
    assert acknowledge("stage", read_code(tmp_path, "2"), "", tmp_path) == "code_version 1 to 2"
    assert (
        acknowledge("stage", read_code(tmp_path, "3"), "rounded", tmp_path) == "code_version 2 to 3; rounded"
    )
    moved = FILES["build.py"].replace("rlaif_dagster.late", "rlaif_dagster.later")
    write_package(tmp_path, {"late.py": "", "later.py": "def finish():\n    return 2\n", "build.py": moved})
    kept = acknowledge("stage", read_code(tmp_path, "3"), "", tmp_path)
    assert kept == "moved, the same: late.finish to later.finish"


def test_a_file_that_git_could_not_merge_is_acknowledged_anew(tmp_path: Path) -> None:
    write_package(tmp_path)
    code = read_code(tmp_path)
    (tmp_path / "stage.json").write_text("<<<<<<< HEAD\n")
    assert acknowledge("stage", code, "", tmp_path) == ""
    assert acknowledge("stage", code, "merged, each change had its reason", tmp_path)
    assert Acknowledged.read("stage", tmp_path).code == code
