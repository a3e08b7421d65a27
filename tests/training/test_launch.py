"""Training goes on after a SIGKILL to the same weights, and in two processes gives what one gives, but for rounding."""

import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.training.sampled_trainers import SampledRlooTrainer
from rlaif_dagster.training.sharding import take_up_sharding
from rlaif_dagster.training.trainers import QuietTrainer
from tests.docs.pages import read_examples
from tests.training import processes
from tests.training.processes import PROCESSES, RESTART_STEPS, SETTINGS, train_tiny
from tests.training.test_training import train_reward

Models = dict[str, Any]


@pytest.fixture(scope="module")
def models(policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("reward")
    train_reward(policy_path, folder)
    return {"policy": policy_path, "reward_model": folder / "reward_model"}


def train_past_a_kill(name: str, folder: Path, **how: Any) -> Any:
    """Trains until killed, and again, into `again`; returns what that training said."""
    killed = PROCESSES.Process(target=processes.train_until_killed, args=(name, folder, "killed"), kwargs=how)
    killed.start()
    killed.join(timeout=200)
    assert killed.exitcode == -signal.SIGKILL
    await_end_of_all(folder)
    points = sorted(point.parent.name for point in (folder / "journal").rglob("*/whole"))
    assert points[0] == f"checkpoint-{RESTART_STEPS}"
    steps: list[int] = []

    def note(what: str, done: int, total: int, note: str = "") -> None:
        if what.endswith("steps"):
            steps.append(done)

    said = train_tiny(name, folder, "again", progress=note, **how)
    if len(points) == 1:  # the kill may come some steps late where the steps are another process's
        assert steps[0] == RESTART_STEPS + 1
    assert not any(path.is_dir() for path in (folder / "journal").iterdir())
    return said


def await_end_of_all(folder: Path) -> None:
    """Waits until no process works on a folder any more."""
    deadline = time.monotonic() + 20
    while any(str(folder) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    name: str, models: Models, tmp_path: Path
) -> None:
    whole = train_tiny(name, tmp_path, "whole", **models)
    assert train_past_a_kill(name, tmp_path, **models) == whole
    assert FolderManifest.from_folder(tmp_path / "again") == FolderManifest.from_folder(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_go_on_after_a_kill(models: Models, tmp_path: Path) -> None:
    alone = train_tiny("dpo", tmp_path, "alone", **models)
    whole = train_tiny("dpo", tmp_path, "whole", num_processes=2, **models)
    assert whole.counts == alone.counts
    assert [step["loss"] for step in whole.steps] == pytest.approx(
        [step["loss"] for step in alone.steps], abs=1e-5
    )
    require_near(tmp_path / "alone", tmp_path / "whole")
    assert train_past_a_kill("dpo", tmp_path, num_processes=2, **models) == whole
    assert FolderManifest.from_folder(tmp_path / "again") == FolderManifest.from_folder(tmp_path / "whole")


@pytest.fixture
def fsdp_config(tmp_path: Path) -> Path:
    file = tmp_path / "fsdp.yaml"
    [example] = [one for one in read_examples("operating.md") if one.label == "inputs/accelerate.yaml"]
    file.write_text(example.text)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reward", "dpo"])
def test_weights_sharded_over_two_processes_are_trained_as_by_one(
    name: str, models: Models, tmp_path: Path, fsdp_config: Path
) -> None:
    alone = train_tiny(name, tmp_path, "alone", **models)
    how: dict[str, Any] = {"num_processes": 2, "config": fsdp_config, **models}
    if name == "reward":
        train_tiny(name, tmp_path, "again", **how)
    else:
        again = train_past_a_kill(name, tmp_path, **how)
        assert again.chosen_step == alone.chosen_step
        assert [one.mean_reward for one in again.checkpoints] == pytest.approx(
            [one.mean_reward for one in alone.checkpoints], abs=1e-3
        )
    require_near(tmp_path / "alone", tmp_path / "again")


def require_near(one: Path, other: Path) -> None:
    """Two model folders hold the same weights, but for rounding."""
    ones, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ones.keys() == others.keys()
    assert all(torch.allclose(ones[name], others[name], atol=1e-4) for name in ones)


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_named(models: Models, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a batch of 16 cannot be divided among 3 processes"):
        train_tiny("reward", tmp_path, "output", num_processes=3, **models)


@pytest.mark.parametrize(
    ("version", "state", "changed", "words"),
    [
        (1, "SHARDED_STATE_DICT", {}, "set `fsdp_version: 2`"),
        (2, "FULL_STATE_DICT", {}, "set `fsdp_state_dict_type: SHARDED_STATE_DICT`"),
        (2, "SHARDED_STATE_DICT", {"precision": "bf16"}, "set `dtype: float32`"),
        (2, "SHARDED_STATE_DICT", {"model": SimpleNamespace(peft_config={})}, "`lora: null`"),
        (2, "SHARDED_STATE_DICT", {"kind": SampledRlooTrainer}, "a policy that samples during training"),
    ],
)
def test_sharding_that_is_not_known_here_is_refused_with_what_to_write(
    version: int, state: str, changed: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", str(version))
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", state)
    of_cpu = SimpleNamespace(device=torch.device("cpu"), mixed_precision=changed.get("precision", "no"))
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(state=of_cpu),
        model=changed.get("model"),
        is_deepspeed_enabled=False,
        is_fsdp_enabled=False,
        takes_shards=changed.get("kind", QuietTrainer).takes_shards,
    )
    with pytest.raises(TrainingError, match=words):
        take_up_sharding(trainer)


def test_deepspeed_is_refused_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    state = SimpleNamespace(device=torch.device("cpu"), deepspeed_plugin=SimpleNamespace(zero_stage=3))
    trainer = SimpleNamespace(accelerator=SimpleNamespace(state=state), is_deepspeed_enabled=True)
    with pytest.raises(TrainingError, match="DeepSpeed is not supported on a CPU"):
        take_up_sharding(trainer)
    state.device = torch.device("cuda")
    with pytest.raises(TrainingError, match=r"stage 3 shards weights.*\n.*zero_stage: 2"):
        take_up_sharding(trainer)
