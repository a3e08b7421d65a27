"""Laws of the evaluation's settings."""

import pytest
from pydantic import ValidationError

from rlaif_dagster.evaluation.settings import EvaluationSettings


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"num_sample": 1}, "num_sample"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": "2"}, "num_samples"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"confidence": 95}, "confidence"),
        ({"ground_truth": "mmlu"}, "ground_truth"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(values: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        EvaluationSettings.model_validate(values)


def test_greedy_decoding_takes_one_sample() -> None:
    with pytest.raises(ValidationError, match="set num_samples to 1"):
        EvaluationSettings(num_samples=2, temperature=0.0)
    assert EvaluationSettings(num_samples=1, temperature=0.0).temperature == 0.0
