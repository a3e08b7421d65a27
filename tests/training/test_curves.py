"""Training curves in TensorBoard: the losses that the result tells, and not a byte of the version different."""

import datetime
import importlib.util
import os
from pathlib import Path

import pytest
import torch

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.lineage.curves import LOGGING_FOLDER, showing_curves
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.training.reward_model import RewardModelResult, train_reward_model
from rlaif_dagster.training.settings import RewardModelSettings
from tests.training.preferences import shorter_is_better, split_rows

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def train(policy_path: Path, folder: Path) -> RewardModelResult:
    rows, held_out = split_rows(shorter_is_better())
    return train_reward_model(
        policy_path,
        rows[:16],
        held_out[:4],
        RewardModelSettings(num_epochs=1.0, batch_size=8),
        seed=1,
        device=torch.device("cpu"),
        output=folder / "model",
        scratch=folder / "scratch",
    )


@pytest.mark.slow
def test_the_curves_are_the_result_and_change_no_byte(
    policy_path: Path, project: Project, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in ("watched", "unwatched"):
        (tmp_path / name).mkdir()
    with showing_curves(project, "round_2/reward_model", WHEN):
        result = train(policy_path, tmp_path / "watched")
    [file] = project.scratch.rglob("events.out.tfevents.*")
    assert file.parent == project.scratch / "tensorboard" / "round_2" / "reward_model" / "2026-01-02T03-04-05"
    events = EventAccumulator(str(file.parent))
    events.Reload()
    shown = {scalar.step: scalar.value for scalar in events.Scalars("train/loss")}
    assert shown == pytest.approx({step.step: step.loss for step in result.steps}, rel=1e-6)
    train(policy_path, tmp_path / "unwatched")
    assert FolderManifest.from_folder(tmp_path / "watched" / "model") == FolderManifest.from_folder(
        tmp_path / "unwatched" / "model"
    )
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1


def test_the_environment_is_afterwards_as_it_was(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "somewhere else"):
        if before:
            monkeypatch.setenv(LOGGING_FOLDER, before)
        with pytest.raises(MemoryError), showing_curves(project, "a", WHEN):
            assert os.environ[LOGGING_FOLDER].startswith(str(project.scratch))
            raise MemoryError
        assert os.environ.get(LOGGING_FOLDER) == before


def test_without_the_extra_nothing_is_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    with showing_curves(project, "a", WHEN):
        assert LOGGING_FOLDER not in os.environ
