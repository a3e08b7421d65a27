from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.errors import InputError
from rlaif_dagster.reader import read_yaml, resolve_inside


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str
    weight: float = Field(default=1.0, gt=0)


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    items: list[Item]


def read(tmp_path: Path, text: str) -> File:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    return read_yaml(file, File)


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("items:\n- id: a\n  weight: -1\n", 3, "items[0].weight", "greater than 0, got -1"),
        ("items:\n- id: a\n- id: b\n  wieght: 2\n", 4, "items[1].wieght", "unknown field (value 2)"),
        ("items:\n- id: a\n- weight: 2\n", 3, "items[1].id", "missing"),
        ("items:\n- id: no\n", 2, "items[0].id", "got False"),
        ("items: 3\n", 1, "items", "got 3"),
        ("items:\n- id: a\n  id: b\n", 3, "items[0].id", "given twice (first on line 2)"),
        ("items: [\n", 2, None, "not valid YAML"),
        ("items:\n\t- id: a\n", 2, None, "not valid YAML"),
        ("", 1, None, "got nothing"),
        ("- a\n", 1, None, "got list"),
        ("items: !!python/object/apply:os.getcwd []\n", None, None, "not valid YAML"),
    ],
)
def test_a_fault_is_named_by_file_line_and_field(
    tmp_path: Path, text: str, line: int | None, field: str | None, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    error = caught.value
    assert error.file == tmp_path / "file.yaml"
    if line is not None:
        assert error.line == line
    assert error.field == field
    assert words in str(error)
    assert error.remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml: the file does not exist"):
        read_yaml(tmp_path / "gone.yaml", File)


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(b"items:\n- id: \xff\n")
    with pytest.raises(InputError, match="line 2: byte 0xff is not UTF-8"):
        read_yaml(file, File)


@pytest.mark.parametrize(
    "text",
    [
        "items:\n- id: a\n  weight: 2\n",
        "# a comment\nitems:   # another\n\n- {weight: 2.0, id: 'a'}\n",
        "\ufeffitems: [{id: a, weight: 2}]\r\n",
    ],
)
def test_comments_formatting_and_order_of_keys_do_not_change_what_is_read(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == File(items=[Item(id="a", weight=2.0)])


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_a_path_that_leads_outside_the_project_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="outside the project"):
        resolve_inside(tmp_path, path, file=tmp_path / "f", field="x")


def test_a_link_that_leads_outside_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="outside the project"):
        resolve_inside(tmp_path / "project", "link", file=tmp_path / "f", field="x")
