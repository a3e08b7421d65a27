"""What earlier versions called things is refused in inputs, with the new name, and understood in stored versions."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rlaif_dagster.errors import InputError
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA, read_comparisons
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.former_names import INPUT_FIELDS, STORED, update_names
from rlaif_dagster.graph.judge_gates import read_judge_audit
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judge_quality.judge_figures import JUDGE_FIGURES
from rlaif_dagster.judge_quality.rows import VerdictLine, read_verdict_file
from rlaif_dagster.names import COMPARISONS_TABLE, JUDGE_AUDIT_JSON
from rlaif_dagster.project_template import TEMPLATE_ROOT
from tests.conftest import edit_yaml

FILES = {"evaluation": "pipeline.yaml", "gates": "judge.yaml"}


@pytest.mark.parametrize("former", [name for name in INPUT_FIELDS if "." in name])
def test_a_renamed_field_of_a_project_is_refused_with_its_new_name(
    default_project: Path, former: str
) -> None:
    section, _, name = former.partition(".")
    file = default_project / "inputs" / FILES[section]
    edit_yaml(file, lambda content: content.setdefault(section, {}).update({name: None}))
    with pytest.raises(InputError) as caught:
        ProjectInputs.read(default_project)
    error = caught.value
    assert (error.file, error.problem) == (file, f"the field {name} is called {INPUT_FIELDS[former]} now")
    assert error.field is not None
    assert error.field.endswith(former)
    assert error.line == 1 + next(
        number for number, line in enumerate(file.read_text().splitlines()) if line.strip() == f"{name}: null"
    )
    assert error.remedy == f"rename it to {INPUT_FIELDS[former]}"


@pytest.mark.parametrize("former", INPUT_FIELDS)
def test_the_new_name_of_a_field_is_read(former: str, default_project: Path) -> None:
    section, _, _ = former.rpartition(".")
    new = INPUT_FIELDS[former]
    if not section:
        assert new in VerdictLine.model_fields
        return
    file = default_project / "inputs" / FILES[section]
    edit_yaml(file, lambda content: content.setdefault(section, {}).setdefault(new, None))
    ProjectInputs.read(default_project)


def test_a_renamed_field_of_a_verdict_is_refused_and_not_left_unused(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    line = {"pair_id": "p", "judge": "j", "order": "ab", "verdict": "first"}
    file.write_text(json.dumps(line) + "\n" + json.dumps({**line, "order": "ba", "gold": "a"}) + "\n")
    with pytest.raises(InputError, match="the field gold is called ground_truth now") as caught:
        read_verdict_file(file)
    assert (caught.value.line, caught.value.field) == (2, "gold")


def test_a_field_that_never_was_has_no_new_name(default_project: Path) -> None:
    """`gold` was one of `evaluation`, not of `sampling`, nor of a prompt."""
    for name, change in {
        "pipeline.yaml": lambda content: content["sampling"].update(gold=1),
        "judge.yaml": lambda content: content.update(gold=1),
    }.items():
        file = default_project / "inputs" / name
        before = file.read_bytes()
        edit_yaml(file, change)
        with pytest.raises(InputError, match="unknown field"):
            ProjectInputs.read(default_project)
        file.write_bytes(before)


def test_every_new_name_of_a_figure_is_one_of_today() -> None:
    figures = {figure.key for figure in JUDGE_FIGURES} | {f.name for f in COMPARISONS_SCHEMA}
    figures |= set(EvaluationMetrics.__dataclass_fields__) | {"reference", "length_controlled_ground_truth"}
    assert set(STORED.values()) <= figures
    assert not figures & STORED.keys()


def test_metrics_of_earlier_code_are_read_under_todays_names() -> None:
    stored = {
        "win_rate_gold": {"value": 0.5},
        "by_category": [{"name": "gold", "gold": None}],
        "judge_gaps": [{"reference": "gold"}],
        "over_optimisation": {"scorer": "gold"},
    }
    assert update_names(stored) == {
        "win_rate_ground_truth": {"value": 0.5},
        "by_category": [{"name": "gold", "ground_truth": None}],
        "judge_gaps": [{"reference": "ground_truth"}],
        "over_optimisation": {"scorer": "ground_truth"},
    }


def test_an_audit_of_earlier_code_is_read_and_names_that_people_gave_stay(tmp_path: Path) -> None:
    figures = {"kappa_gold": 1, "gold_a": 2}
    renamed = {"kappa_ground_truth": 1, "ground_truth_a": 2}
    stored: dict[str, Any] = {
        "truth": "gold",
        "labels": {"judges": {"gold": figures}, "calibration": {"gold": []}},
        "principles": {"gold": {"judges": {"truth": figures}}},
        "injection": {"gold": {"success": 3}},
        "policy": {"judge_minus_policy": {"gold": 4}},
        "human": None,
    }
    (tmp_path / JUDGE_AUDIT_JSON).write_text(json.dumps(stored))
    assert read_judge_audit(tmp_path) == {
        "reference": "ground_truth",
        "labels": {"judges": {"gold": renamed}, "calibration": {"gold": []}},
        "principles": {"gold": {"judges": {"truth": renamed}}},
        "injection": {"gold": {"success": 3}},
        "policy": {"judge_minus_policy": {"gold": 4}},
        "human": None,
    }


def test_comparisons_of_earlier_code_are_read(tmp_path: Path) -> None:
    row = {"prompt_id": "p", "index": 0, "prompt": "?", "base_text": "a", "aligned_text": "b", "p_judge": 0.5}
    row |= {"gold": 1.0, "principles": [{"principle_id": "kind", "p_judge": None, "gold": 0.0}]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / COMPARISONS_TABLE)
    (read,) = read_comparisons(tmp_path / COMPARISONS_TABLE)
    assert isinstance(read, Comparison)
    assert (read.ground_truth, read.principles[0].ground_truth) == (1.0, 0.0)


def test_the_template_uses_no_former_name() -> None:
    text = (TEMPLATE_ROOT / "inputs" / "pipeline.yaml").read_text()
    assert not yaml.safe_load(text)["evaluation"].keys() & {name.rpartition(".")[2] for name in INPUT_FIELDS}


def test_names_of_people_keep_their_words_at_every_depth() -> None:
    stored = {"judges": {"gold": {"gold": 1}}, "sources": {"gold": {"truth": {"gold": 1}}}}
    assert update_names(stored) == {
        "judges": {"gold": {"ground_truth": 1}},
        "sources": {"gold": {"truth": {"ground_truth": 1}}},
    }
