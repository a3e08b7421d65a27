"""Each judge provider is one file, and nothing else in the package knows which providers there are."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from rlaif_dagster.errors import InputError, MissingPlugInError
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JudgeFile
from rlaif_dagster.judging import providers
from rlaif_dagster.judging.settings import JUDGES, AnyJudge, AskedJudgeSettings, JudgeSettings
from rlaif_dagster.reader import read_yaml
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "rlaif_dagster"
FOLDER = Path(providers.__file__).parent
ENTRIES: dict[str, str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
    "entry-points"
][JUDGES.group]
CLASSES = {entry.partition(":")[2] for entry in ENTRIES.values()}
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != FOLDER]
ALL = "jury, local, openai, planted, recorded"


def list_words(path: Path) -> set[str]:
    """Every name, attribute, imported module and whole text of a module."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
                words.add(word)
            case ast.Import(names=aliases):
                words.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                words.update([module, *(f"{module}.{alias.name}" for alias in aliases)])
    return words


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_names_a_provider(path: Path) -> None:
    """Neither its class, nor its module: so a new one changes no other file of the package."""
    words = list_words(path)
    assert not CLASSES & words
    assert not [word for word in words if word.startswith(providers.__name__)]


def test_each_file_is_one_provider_named_as_it_is() -> None:
    assert {name: entry.partition(":")[0] for name, entry in ENTRIES.items()} == {
        path.stem: f"{providers.__name__}.{path.stem}"
        for path in FOLDER.glob("*.py")
        if path.stem != "__init__"
    }


def test_the_installed_entry_points_are_those_of_the_project_file() -> None:
    """If not, the environment is older than the code: `pip install --no-deps -e .`"""
    own = [
        found for name in JUDGES.list_names() if (found := JUDGES.find_plug_in(name)) and found.origin is None
    ]
    assert {each.name: each.entry_point.value for each in own} == ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_a_provider_says_its_name_in_its_field(name: str) -> None:
    assert JUDGES.load(name).model_fields["provider"].annotation.__args__ == (name,)  # type: ignore[union-attr]


def test_a_judge_of_the_package_states_no_distribution() -> None:
    """What it says is known by the package's code; so an upgrade of the package asks nothing anew."""
    settings = TypeAdapter[JudgeSettings](AnyJudge).validate_python({"provider": "planted"})
    assert "plug_in" not in settings.describe()


def read(tmp_path: Path, file: str, text: str) -> InputError:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_yaml(path, JudgeFile if file == "judge.yaml" else PipelineSettings)
    return refused.value


@pytest.mark.parametrize(
    ("text", "line", "field", "told"),
    [
        (
            "provider: oracle\n",
            1,
            "provider",
            (
                "no installed distribution offers the judge provider 'oracle'",
                f"set provider to one of {ALL}",
            ),
        ),
        (
            "gates: {}\nprovider: jury\njudges:\n  - provider: planted\n  - provider: oracle\n",
            5,
            "judges[1].provider",
            (
                "no installed distribution offers the judge provider 'oracle'",
                "set provider to one of local, openai, planted",
            ),
        ),
        (
            "provider: jury\njudges:\n  - {provider: planted}\n  - {provider: recorded, verdicts: v}\n",
            4,
            "judges[1].provider",
            (
                "'recorded' cannot stand here",
                "set provider to one of local, openai, planted",
            ),
        ),
        ("model: m\n", 1, "provider", ("the field provider is missing", f"set it to one of {ALL}")),
        ("provider: 3\n", 1, "provider", ("expected a text, got 3", f"set it to one of {ALL}")),
        (
            "provider: local\nmodel: m\nverdicts: v.jsonl\n",
            3,
            "verdicts",
            (
                "unknown field (value 'v.jsonl')",
                "remove it, or correct its spelling",
            ),
        ),
        (
            "provider: jury\njudges:\n  - provider: planted\n  - provider: openai\n    model: m\n"
            "    limits: {concurrency: 0}\n",
            6,
            "judges[1].limits.concurrency",
            (
                "input should be greater than or equal to 1, got 0",
                "correct the value",
            ),
        ),
    ],
)
def test_a_wrong_judge_is_refused_with_its_place_and_a_remedy(
    tmp_path: Path, text: str, line: int, field: str, told: tuple[str, str]
) -> None:
    error = read(tmp_path, "judge.yaml", text)
    assert (error.line, error.field, (error.problem, error.remedy)) == (line, field, told)
    assert isinstance(error, MissingPlugInError) == ("no installed" in error.problem)


@pytest.mark.parametrize(
    ("section", "field", "problem"),
    [
        (
            "evaluation: {judge: {provider: jury, judges: []}}",
            "evaluation.judge.provider",
            "'jury' cannot stand here",
        ),
        (
            "revision: {critic: {provider: planted}}",
            "revision",
            "a critic writes, but a judge of the provider planted gives nothing but verdicts",
        ),
        (
            "revision: {critic: {provider: oracle}}",
            "revision.critic.provider",
            "no installed distribution offers the judge provider 'oracle'",
        ),
    ],
)
def test_other_places_take_the_judges_that_can_stand_there(
    tmp_path: Path, section: str, field: str, problem: str
) -> None:
    error = read(tmp_path, "pipeline.yaml", f"base_policy: {{model: m}}\n{section}\n")
    assert (error.field, error.problem) == (field, problem)


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "local", "model": "m", "verdict": "text", "temperature": 0.5},
        {"provider": "openai", "model": "m", "price": {"input_per_million": 1.0, "output_per_million": 2.0}},
        {"provider": "planted", "noise": 0.5},
    ],
)
def test_todays_settings_change_where_and_how_fast_a_stored_judge_is_asked_and_not_what_it_is(
    fields: dict[str, Any],
) -> None:
    """Every other field stays: with it the judge would answer in the name of another one."""
    kind = JUDGES.load(fields["provider"])
    assert issubclass(kind, AskedJudgeSettings)
    stored = kind.model_validate(fields)
    assert isinstance(stored, AskedJudgeSettings)
    today = stored.model_copy(
        update={
            "template": "other",
            "repeats": 7,
            "gates": stored.gates.model_copy(update={"min_coverage": 0.5}),
        }
    )
    asked = stored.take_speed(today)
    assert asked.gates == today.gates
    assert asked.describe() == stored.describe()
