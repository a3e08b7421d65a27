"""What a registry collects is what stands in the package's folder, and a module that lacks it is named."""

import sys
from pathlib import Path

import pytest

from rlaif_dagster.generation.samplers import SamplingSettings
from rlaif_dagster.registry import collect
from rlaif_dagster.training.method import Method
from rlaif_dagster.training.methods import PolicySettings, find_method
from rlaif_dagster.training.settings import AlignmentSettings
from tests.docs.reference import reach_models
from tests.test_layers import PACKAGE


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "toy_methods"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("toy_methods")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_modules_are_collected_in_the_order_of_their_names(package: Path) -> None:
    (package / "rloo.py").write_text("SETTINGS = 'rloo'\n")
    (package / "dpo.py").write_text("SETTINGS = 'dpo'\nMETHOD = 1\n")
    assert collect("toy_methods", "SETTINGS") == ("dpo", "rloo")


def test_a_module_that_does_not_define_the_name_is_named(package: Path) -> None:
    (package / "ipo.py").write_text("METHOD = 1\n")
    with pytest.raises(
        TypeError, match=r"toy_methods\.ipo defines no SETTINGS, as every module of toy_methods"
    ):
        collect("toy_methods", "SETTINGS")


@pytest.mark.parametrize(
    ("folder", "union", "base"),
    [
        ("training/methods", PolicySettings, "AlignmentSettings"),
        ("generation/samplers", SamplingSettings, "ResponsesSettings"),
    ],
)
def test_a_union_holds_the_settings_of_each_module(folder: str, union: object, base: str) -> None:
    modules = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
    found = {
        model.__module__.rpartition(".")[2]
        for model in reach_models(union)
        if base in {parent.__name__ for parent in model.__mro__}
    }
    assert found == modules


def test_settings_lead_to_their_method() -> None:
    for method in collect("rlaif_dagster.training.methods", "METHOD"):
        assert isinstance(method, Method)
        assert find_method(method.settings.model_construct()) is method
    with pytest.raises(TypeError, match="no method has settings of the type AlignmentSettings"):
        find_method(AlignmentSettings())
