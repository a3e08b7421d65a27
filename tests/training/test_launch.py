"""Training in two processes with gloo: what one process gives, but for rounding."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from rlaif_dagster.errors import TrainingError
from rlaif_dagster.tables import Row, StoredRows
from rlaif_dagster.training.launch import train_in_processes
from rlaif_dagster.training.reward_model import RewardModelResult
from rlaif_dagster.training.settings import RewardModelSettings
from tests.training.test_training import HELD_OUT, REWARD, TRAIN, train_reward

SHORT = REWARD.model_copy(update={"max_steps": 2})


def store(rows: list[Row], path: Path) -> StoredRows:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return StoredRows(path=path, columns=tuple(rows[0]))


def launch(policy: Path, folder: Path, settings: RewardModelSettings) -> RewardModelResult:
    folder.mkdir(exist_ok=True)
    result: RewardModelResult = train_in_processes(
        "reward model",
        settings,
        num_processes=2,
        config_file=None,
        folders={"base_path": policy, "output": folder / "reward_model", "scratch": folder / "scratch"},
        tables={
            "rows": store(TRAIN, folder / "train.parquet"),
            "held_out_rows": store(HELD_OUT, folder / "held_out.parquet"),
        },
        seed=2**40 + 1,
        device=torch.device("cpu"),
        num_threads=1,
    )
    return result


@pytest.mark.slow
def test_two_processes_train_what_one_does(policy_path: Path, tmp_path: Path) -> None:
    alone = train_reward(policy_path, tmp_path / "one", SHORT)
    together = launch(policy_path, tmp_path / "two", SHORT)
    assert together.num_pairs == alone.num_pairs
    assert [step.loss for step in together.steps] == pytest.approx(
        [step.loss for step in alone.steps], abs=1e-5
    )
    assert together.held_out.margins == pytest.approx(alone.held_out.margins, abs=1e-3)
    one, two = (load_file(tmp_path / name / "reward_model" / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_a_batch_that_cannot_be_shared_out_is_named(policy_path: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a batch of 3 cannot be shared by 2 processes"):
        launch(policy_path, tmp_path, SHORT.model_copy(update={"batch_size": 3}))
