"""What the evaluation's settings make of its stage: an independent judge, and groups that may not get worse."""

from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.evaluation.comparison import Comparison, PrincipleOutcome
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import summarise
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.evaluation_checks import ask_for, make_evaluation_checks
from rlaif_dagster.graph.held_out import EvaluationSpec
from rlaif_dagster.graph.stage import CheckResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import METRICS_JSON
from tests.conftest import edit_yaml

JUDGE = {"provider": "planted", "noise": 0.1}


def read_with(project: Path, **evaluation: Any) -> ProjectInputs:
    """The project's inputs with another `evaluation` section."""
    edit_yaml(project / "inputs" / "pipeline.yaml", lambda pipeline: pipeline.update(evaluation=evaluation))
    return ProjectInputs.read(project)


def test_an_independent_judge_is_an_asset_of_its_own_that_only_the_evaluation_reads(
    default_project: Path,
) -> None:
    without = build_graph(read_with(default_project))
    first = build_graph(read_with(default_project, judge=JUDGE))
    other = build_graph(read_with(default_project, judge=JUDGE | {"noise": 0.2}))
    assert set(first) - set(without) == {"evaluation_judge"}
    assert [name for name, stage in first.items() if "evaluation_judge" in stage.inputs] == ["evaluation"]
    assert first["evaluation_judge"].identity.settings != other["evaluation_judge"].identity.settings
    changed = [
        name for name, stage in first.items() if stage.identity.settings != other[name].identity.settings
    ]
    assert changed == [
        "evaluation_judge"
    ]  # where and how fast it is asked is no part of the evaluation's recipe


@pytest.mark.parametrize(
    ("evaluation", "scorer"),
    [
        ({}, None),
        ({"best_of": 2}, "judge"),
        ({"best_of": 2, "judge": JUDGE}, "independent_judge"),
        ({"best_of": 2, "judge": JUDGE, "ground_truth": "embedded_world"}, "ground_truth"),
    ],
)
def test_the_most_trusted_source_says_what_the_best_of_n_are_worth(
    default_project: Path, evaluation: dict[str, Any], scorer: str | None
) -> None:
    assert EvaluationSpec.from_inputs(read_with(default_project, **evaluation)).scorer == scorer


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        (
            {"judge": {"provider": "local", "model": "embedded:judge"}},
            "has the same name as the judge that labels",
        ),
        ({"judge": JUDGE | {"gates": {"min_coverage": 0.5}}}, "judge has gates or human_labels"),
        ({"no_regression": ["harmles"]}, "neither a principle of the constitution nor a category"),
        ({"best_of": 4, "temperature": 0.0}, "all answers are the same"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    default_project: Path, evaluation: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_with(default_project, **evaluation)


def run_check(folder: Path, *no_regression: str) -> CheckResult:
    """Runs the check on an evaluation in which `risky` lost all of 8 prompts, and the judge saw nothing of it."""
    rows = [
        Comparison(
            prompt_id=f"p{number}",
            prompt="Why?",
            category="risky" if number < 8 else "plain",
            base_text="No.",
            aligned_text="Yes.",
            p_judge=0.9,
            ground_truth=float(number >= 8),
            principles=(PrincipleOutcome(principle_id="kind", p_judge=0.9),),
        )
        for number in range(24)
    ]
    (folder / METRICS_JSON).write_bytes(canonical_json(summarise(rows).to_json()))
    settings = EvaluationSettings(no_regression=list(no_regression))
    [check] = [check for check in make_evaluation_checks(ask_for(settings)) if check.name == "no_regression"]
    assert check.blocking
    return check.run(folder, {})


@pytest.mark.slow
def test_a_category_that_got_worse_blocks_where_it_is_asked_for(tmp_path: Path) -> None:
    """1/256 by the ground truth; corrected for the two that are asked about, 2/256, and not for those that are not."""
    result = run_check(tmp_path, "risky", "plain")
    assert not result.passed
    assert result.facts["worse"] == ["risky"]
    assert result.facts["p_values"] == {"plain": 1.0, "risky": 2 / 256}
    assert run_check(tmp_path, "plain", "kind").passed


def test_what_is_not_asked_for_passes_and_is_told(tmp_path: Path) -> None:
    result = run_check(tmp_path)
    assert result.passed
    assert result.facts["worse_elsewhere"] == ["risky"]


def test_a_group_that_nothing_tells_of_does_not_pass(tmp_path: Path) -> None:
    result = run_check(tmp_path, "unheard")
    assert not result.passed
    assert result.facts["not_measured"] == ["unheard"]
