"""Which of several rounds is released, on evaluations made by hand."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.evaluate import COMPARISONS_FILE, COMPARISONS_SCHEMA
from rlaif_dagster.graph.release import build_released_policy, read_release
from rlaif_dagster.graph.rounds import Stop
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.tables import write_table
from tests.conftest import edit_yaml

NUM_PROMPTS = 100


@dataclass(frozen=True)
class Round:
    """What was measured of a round: prompts won of 100, and the lower end of the win rate that its check reads."""

    won: int
    low: float = 0.55


def name_evaluation(number: int) -> str:
    return "evaluation" if number == 1 else f"round_{number}/evaluation"


def digest_of(asset: str) -> Digest:
    return Digest.from_bytes(asset.encode())


def write_round(folder: Path, number: int, measured: Round) -> None:
    folder.mkdir(parents=True)
    rows = [
        Comparison(
            prompt_id=f"{place:03}",
            prompt="?",
            base_text="a",
            aligned_text="b",
            p_judge=0.9 if place < measured.won else 0.1,
        )
        for place in range(NUM_PROMPTS)
    ]
    write_table(folder / COMPARISONS_FILE, map(asdict, rows), COMPARISONS_SCHEMA)
    win_rate = {"value": measured.won / 100, "low": measured.low, "high": 1.0, "n": 100, "num_clusters": 100}
    (folder / "metrics.json").write_bytes(canonical_json({"win_rate_judge": win_rate}))
    policy = str(digest_of(f"policy {number}"))
    (folder / "inputs.json").write_bytes(canonical_json({"aligned_policy": policy, "prompts": "the same"}))


def release(project: Path, rounds: Mapping[int, Round | Stop]) -> dict[str, Any]:
    """What the stage says that releases one of these rounds."""
    edit_yaml(
        project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(rounds=len(rounds), release={"require": ["win_rate_over_half"]}),
    )
    folders = {name_evaluation(number): project / "made" / str(number) for number in rounds}
    for number, measured in rounds.items():
        folder = folders[name_evaluation(number)]
        if isinstance(measured, Stop):
            folder.mkdir(parents=True)
            measured.write(folder)
        else:
            write_round(folder, number, measured)
    output = project / "released"
    output.mkdir()
    stage = build_released_policy(ProjectInputs.read(project))
    assert stage.inputs == tuple(folders)
    stage.compute(
        StageContext(
            inputs=folders,
            digests={name: digest_of(name) for name in folders},
            output=output,
            scratch=output,
            journal=output,
            attempt="test",
            services=NoHistory(),
        )
    )
    return read_release(output)


def test_a_later_round_that_fails_a_required_check_is_never_released_however_much_it_wins(
    default_project: Path,
) -> None:
    """Of 60, 95 and 80 wins the second failed: the third is the best of the others (80 - 4 > 60)."""
    released = release(default_project, {1: Round(60), 2: Round(95, low=0.49), 3: Round(80)})
    assert (released["round"], released["asset"]) == (3, "round_3/aligned_policy")
    assert [round_["left_out"] for round_ in released["rounds"]] == [
        None,
        "it failed win_rate_over_half, required by release.require",
        None,
    ]
    assert [round_["win_rate"] is None for round_ in released["rounds"]] == [False, True, False]
    assert released["checks"]["win_rate_over_half"]["passed"] is True
    assert released["checks"]["win_rate_over_half"]["facts"]["value"] == 0.8


def test_a_round_that_was_not_made_is_left_out_with_the_reason_of_the_stop(default_project: Path) -> None:
    stop = Stop(by="round 2 was the last", reasons=("no gain",))
    released = release(default_project, {1: Round(80), 2: Round(95, low=0.49), 3: stop})
    assert (released["round"], released["asset"]) == (1, "aligned_policy")
    assert [round_["left_out"] for round_ in released["rounds"]] == [
        None,
        "it failed win_rate_over_half, required by release.require",
        "stopped, round 2 was the last: no gain",
    ]


@pytest.mark.parametrize(
    ("rounds", "chosen"),
    [
        ({1: Round(60)}, 1),
        ({1: Round(60), 2: Round(90)}, 2),
        ({1: Round(90), 2: Round(60)}, 1),
        ({1: Round(60), 2: Round(95, low=0.49), 3: Round(80)}, 3),
    ],
)
def test_all_that_a_release_names_is_of_the_chosen_round(
    default_project: Path, rounds: Mapping[int, Round], chosen: int
) -> None:
    released = release(default_project, rounds)
    assert released["evaluation"] == str(digest_of(name_evaluation(chosen)))
    assert released["policy"] == str(digest_of(f"policy {chosen}"))
    assert released["made_from"] == {"prompts": "the same"}
    assert released["figures"]["win_rate_judge"]["value"] == rounds[chosen].won / 100
    assert json.loads((default_project / "released" / "release.json").read_bytes()) == released
