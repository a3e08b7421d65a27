from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from rlaif_dagster.inputs.project_inputs import JudgeFile
from rlaif_dagster.judging.providers.local import LocalJudgeSettings
from rlaif_dagster.judging.providers.recorded import RecordedJudgeSettings
from rlaif_dagster.judging.settings import AnyJudge, JudgeSettings
from rlaif_dagster.reader import read_yaml

ADAPTER: TypeAdapter[JudgeSettings] = TypeAdapter(AnyJudge)


def test_the_shipped_judge_is_the_embedded_one() -> None:
    settings = read_yaml(Path(__file__).parents[2] / "inputs" / "judge.yaml", JudgeFile).root
    assert settings == LocalJudgeSettings(provider="local", model="embedded:judge", template="compact")


def test_the_provider_says_which_fields_there_are() -> None:
    recorded = ADAPTER.validate_python({"provider": "recorded", "verdicts": "inputs/v.jsonl"})
    assert recorded == RecordedJudgeSettings(provider="recorded", verdicts="inputs/v.jsonl")


@pytest.mark.parametrize(
    "value",
    [
        {"provider": "oracle"},
        {"provider": "local"},
        {"provider": "local", "model": ""},
        {"provider": "local", "model": "m", "verdicts": "v.jsonl"},
        {"provider": "local", "model": "m", "max_length": 0},
        {"provider": "local", "model": "m", "max_length": "10"},
        {"provider": "recorded"},
        {"provider": "recorded", "verdicts": "v.jsonl", "template": "compact"},
    ],
)
def test_other_fields_and_values_are_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(value)
