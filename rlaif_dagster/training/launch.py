"""Training in several processes: how they are started, and, run as a module, what each of them does.

On a CPU they are started by torch's launcher, which accelerate takes up with gloo; elsewhere by `accelerate launch`,
whose config file may ask for FSDP or DeepSpeed. Each process trains on its share of a batch, so a step sees as many
pairs or answers as with one; the first process writes.

Known trade-offs (accepted): every process measures checkpoints for itself, and a training that is killed starts anew.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from rlaif_dagster.errors import ModelError, TrainingError
from rlaif_dagster.tables import StoredRows
from rlaif_dagster.training.policy import train_policy
from rlaif_dagster.training.results import PolicyResult
from rlaif_dagster.training.reward_model import RewardModelResult, train_reward_model
from rlaif_dagster.training.settings import OptimizerSettings, PolicySettings, RewardModelSettings

if TYPE_CHECKING:
    import torch

TRAININGS: Final[Mapping[str, tuple[Any, Any, Any]]] = {
    "policy": (train_policy, PolicySettings, PolicyResult),
    "reward model": (train_reward_model, RewardModelSettings, RewardModelResult),
}
"""What can be trained: the function, its settings, and what it returns."""
_NUM_SHOWN: Final = 2000


def train_in_processes(
    what: str,
    settings: OptimizerSettings,
    *,
    num_processes: int,
    config_file: Path | None,
    folders: Mapping[str, Path],
    tables: Mapping[str, StoredRows],
    seed: int,
    device: "torch.device",
    num_threads: int,
) -> Any:
    """Trains in several processes, and returns what the function of `TRAININGS` does.

    Args:
        what: "policy" or "reward model".
        settings: Its settings, whose batches are shared out.
        num_processes: At least 2.
        config_file: accelerate's, or None.
        folders: The function's arguments that are folders, `scratch` among them.
        tables: Those that are rows, which each process reads for itself.
        seed: Its seed.
        device: "cpu", or the kind of accelerator that each process has one of.
        num_threads: Of each process.

    Raises:
        TrainingError: If a batch cannot be shared out, or a process fails.
    """
    if settings.batch_size % num_processes:
        raise TrainingError(
            f"{what}: a batch of {settings.batch_size} cannot be shared by {num_processes} processes.\n"
            "  remedy: make `batch_size` a multiple of `launch.num_processes`"
        )
    scratch = folders["scratch"]
    scratch.mkdir(parents=True, exist_ok=True)
    job, result = scratch / "job.json", scratch / "result.json"
    job.write_text(
        json.dumps(
            {
                "what": what,
                "settings": settings.model_dump(mode="json"),
                "folders": {name: str(path) for name, path in folders.items()},
                "tables": {name: rows.to_json() for name, rows in tables.items()},
                "seed": seed,
                "device": device.type,
                "num_threads": num_threads,
            }
        )
    )
    done = subprocess.run(
        [*_launcher(num_processes, config_file, device), "--module", __name__, str(job), str(result)],
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": str(device.type == "cpu").lower(),
            "OMP_NUM_THREADS": str(num_threads),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not result.exists():
        raise TrainingError(
            f"{what}: one of {num_processes} processes failed (exit code {done.returncode}):\n"
            f"{done.stderr[-_NUM_SHOWN:]}\n  remedy: see above; with `launch.num_processes: 1` faults are plainer"
        )
    return TypeAdapter(TRAININGS[what][2]).validate_json(result.read_bytes())


def _launcher(num_processes: int, config_file: Path | None, device: "torch.device") -> list[str]:
    if device.type == "cpu":
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(num_processes),
        ]
    config = ["--config_file", str(config_file)] if config_file else ["--multi_gpu", "--num_machines", "1"]
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *config,
        "--num_processes",
        str(num_processes),
    ]


def run_job(job: Path, result: Path) -> None:
    """Does one process's part of a training; the first process writes what it returns.

    Raises:
        ModelError: If a model cannot be opened.
        TrainingError: If training diverges.
    """
    from rlaif_dagster.numerics import prepare_torch

    asked = json.loads(job.read_text())
    train, settings_type, _ = TRAININGS[asked["what"]]
    rank, num_processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    settings = TypeAdapter(settings_type).validate_python(asked["settings"])
    settings = settings.model_copy(update={"batch_size": settings.batch_size // num_processes})
    place = "" if asked["device"] == "cpu" else f":{os.environ['LOCAL_RANK']}"
    returned = train(
        **{name: Path(path) for name, path in asked["folders"].items()},
        **{name: StoredRows.from_json(rows) for name, rows in asked["tables"].items()},
        settings=settings,
        seed=asked["seed"],
        device=prepare_torch(num_threads=asked["num_threads"], device=asked["device"] + place),
    )
    if rank == 0:
        result.write_text(json.dumps(asdict(returned)))


if __name__ == "__main__":
    try:
        run_job(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ModelError, TrainingError) as error:
        sys.exit(str(error))
