"""A project made from examples, with a folder in the place of a real model."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.docs.pages import Example

WriteProject = Callable[[Iterable[Example]], Path]


@pytest.fixture
def write_project(tmp_path: Path) -> WriteProject:
    """Writes examples under their labels, beside a folder with a model's files, `models/my-policy`."""

    def write(examples: Iterable[Example]) -> Path:
        model = tmp_path / "models" / "my-policy"
        model.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (model / name).write_text("{}")
        for example in examples:
            file = tmp_path / example.label
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(example.text, encoding="utf-8")
        return tmp_path

    return write
