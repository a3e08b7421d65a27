"""Which of several rounds is released, on evaluations made by hand."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA
from rlaif_dagster.graph.release import build_released_policy, read_release
from rlaif_dagster.graph.rounds import Stop
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import COMPARISONS_TABLE
from rlaif_dagster.tables import write_table
from tests.conftest import edit_yaml

NUM_PROMPTS = 100


@dataclass(frozen=True)
class Round:
    """What was measured of a round: prompts won, the lower end that its check reads, and prompts judged of 100."""

    won: int
    low: float = 0.55
    num_judged: int = NUM_PROMPTS


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
            p_judge=None if place >= measured.num_judged else 0.9 if place < measured.won else 0.1,
        )
        for place in range(NUM_PROMPTS)
    ]
    write_table(folder / COMPARISONS_TABLE, map(asdict, rows), COMPARISONS_SCHEMA)
    win_rate = {"value": measured.won / 100, "low": measured.low, "high": 1.0, "n": 100, "num_clusters": 100}
    (folder / "metrics.json").write_bytes(
        canonical_json({"win_rate_judge": win_rate, "by_category": [], "by_principle": [], "group_tests": []})
    )
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


def build(project: Path, **pipeline: Any) -> Stage:
    edit_yaml(project / "inputs" / "pipeline.yaml", lambda settings: settings.update(pipeline))
    return build_released_policy(ProjectInputs.read(project))


def test_one_round_and_several_have_recipes_of_their_own(default_project: Path) -> None:
    """One round knows nothing of rounds, so that a project that never had several keeps its recipe."""
    one = build(default_project, release={"require": ["win_rate_over_half"]})
    assert one.identity.name == "released_policy"
    assert (one.identity.code_version, one.inputs) == ("1", ("evaluation",))
    assert one.identity.settings == {"require": ["win_rate_over_half"], "required": {}}
    several = build(default_project, rounds=2)
    assert (several.identity.code_version, several.inputs) == ("3", ("evaluation", "round_2/evaluation"))
    settings: Any = several.identity.settings
    assert (settings["rounds"], settings["confidence"]) == (2, 0.95)


def test_a_release_waits_for_the_checks_that_are_required_in_order_of_their_names(
    default_project: Path,
) -> None:
    stage = build(
        default_project,
        evaluation={"judge_checkpoints": True},
        release={"require": ["win_rate_over_half", "not_over_optimised", "win_rate_over_half"]},
    )
    required = {"not_over_optimised": "a measurement", "win_rate_over_half": None}
    assert stage.governance.requires == {"evaluation": required}
    assert list(stage.governance.requires["evaluation"]) == list(required)
    assert stage.governance.reason is None
    assert stage.identity.settings == {
        "require": list(required),
        "required": {"not_over_optimised": "a measurement"},
    }


def test_a_required_check_that_the_evaluation_does_not_have_is_refused(default_project: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(default_project, release={"require": ["win_rate_over_half", "beauty"]})
    assert caught.value.problem == "the evaluation has no check 'beauty'"
    assert (caught.value.file, caught.value.field) == (Path("inputs/pipeline.yaml"), "release.require")
    assert caught.value.remedy.startswith("name any of schema, win_rate_over_half, no_regression, ")


def test_a_required_check_that_nothing_measures_is_refused(default_project: Path) -> None:
    with pytest.raises(InputError, match="the required check 'not_over_optimised' is not measured") as caught:
        build(default_project, evaluation={}, release={"require": ["not_over_optimised"]})
    assert caught.value.remedy == "set evaluation.judge_checkpoints to true, or remove the check"
    build(default_project, evaluation={}, release={"require": ["win_rate_over_half"]})


def test_a_held_release_is_copied_byte_for_byte_and_waits_for_no_check(
    default_project: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    (held / "more").mkdir(parents=True)
    (held / "release.json").write_text('{"policy": "sha256:1"}')
    (held / "more" / "file").write_bytes(b"\x00\x01")
    digest = digest_of("held")
    hold = {"release": str(digest), "reason": "the new one is rude"}
    (default_project / "inputs" / "release.yaml").write_text(json.dumps({"hold": hold}))

    class History(NoHistory):
        def recorded_version(self, digest: Digest) -> Path:
            return {digest_of("held"): held}[digest]

    stage = build(default_project)
    assert (stage.governance.requires, stage.governance.reason) == ({}, "the new one is rude")
    assert stage.identity.settings == {"hold": str(digest)}
    output = tmp_path / "output"
    output.mkdir()
    result = stage.compute(
        StageContext(
            inputs={},
            digests={},
            output=output,
            scratch=output,
            journal=output,
            attempt="test",
            services=History(),
        )
    )
    assert result.metrics == {"policy": "sha256:1"}
    assert (output / "more" / "file").read_bytes() == b"\x00\x01"
    assert (output / "release.json").read_bytes() == (held / "release.json").read_bytes()
    (default_project / "inputs" / "release.yaml").unlink()
    with pytest.raises(InputError, match="hold was changed"):
        stage.governance.confirm()


def test_a_change_of_the_release_is_traced_to_what_a_person_edited(default_project: Path) -> None:
    origins = build(default_project, rounds=2).planning.origins
    assert origins == {
        "": "inputs/pipeline.yaml: release",
        "required": "inputs/pipeline.yaml: evaluation",
        "rounds": "inputs/pipeline.yaml: rounds",
        "confidence": "inputs/pipeline.yaml: evaluation.confidence",
        "hold": "inputs/release.yaml: hold.release",
    }


def test_what_is_told_of_each_round_is_its_win_rate_and_why_it_is_chosen(default_project: Path) -> None:
    """60 and 90 of 100: Wilson's interval of the second is 0.825 to 0.945 but for the t quantile on 99 degrees."""
    released = release(default_project, {1: Round(60), 2: Round(90)})
    assert released["reason"] == "round 2 has the best win rate, 0.900"
    assert [round_["round"] for round_ in released["rounds"]] == [1, 2]
    second = released["rounds"][1]["win_rate"]
    assert (second["value"], second["n"], second["num_clusters"]) == (0.9, 100, 100)
    assert (second["low"], second["high"]) == (pytest.approx(0.825, abs=2e-3), pytest.approx(0.945, abs=2e-3))


def test_where_no_round_was_judged_the_first_is_released(default_project: Path) -> None:
    stop = Stop(by="round 1 was the last", reasons=("no gain",))
    released = release(default_project, {1: Round(0, num_judged=0), 2: stop})
    assert (released["round"], released["asset"]) == (1, "aligned_policy")
    assert released["reason"] == "no round was judged, so the first is released"
    assert [round_["win_rate"] for round_ in released["rounds"]] == [None, None]


def test_a_release_holds_the_figures_of_the_whole_and_not_of_groups(default_project: Path) -> None:
    released = release(default_project, {1: Round(60)})
    assert set(released["figures"]) == {"win_rate_judge"}
    assert "round" not in released
