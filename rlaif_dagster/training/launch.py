"""Starts training in several processes. Run as a module, it is one of these processes.

On a CPU they are started by torch's launcher, and accelerate uses gloo. On other devices, or with a config file (which
may ask for FSDP or DeepSpeed), they are started by `accelerate launch`. Each process trains on its share of a batch, so
a step sees as many pairs or answers as with one process; the first process measures and writes. All processes end with
the one that started them, so the folder of restart points has one user at a time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from rlaif_dagster.errors import ModelError, TrainingError
from rlaif_dagster.processes import die_with_parent
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.tables import StoredRows
from rlaif_dagster.training.methods import PolicySettings
from rlaif_dagster.training.policy import train_policy
from rlaif_dagster.training.restarts import Restart, hold_workspace
from rlaif_dagster.training.results import PolicyResult
from rlaif_dagster.training.reward_model import RewardModelResult, train_reward_model
from rlaif_dagster.training.settings import OptimizerSettings, RewardModelSettings

if TYPE_CHECKING:
    import torch

TRAININGS: Final[Mapping[str, tuple[Any, Any, Any]]] = {
    "policy": (train_policy, PolicySettings, PolicyResult),
    "reward model": (train_reward_model, RewardModelSettings, RewardModelResult),
}
"""What can be trained: the function, its settings, and what it returns."""
FAULT: Final = "fault"
"""The file beside the job's in which a failed process writes why."""
_NUM_SHOWN: Final = 2000
_LAUNCHERS_WORDS: Final = "torch/distributed/elastic"
"""Where the launcher's own report of a failed process begins; the process's output comes before."""
_PROGRESS: Final = "progress "
"""The beginning of lines by which the first process reports progress."""


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
    restart: Restart,
    progress: Progress = ignore_progress,
) -> Any:
    """Trains in several processes, and returns what the function in `TRAININGS` returns.

    Args:
        what: "policy" or "reward model".
        settings: Its settings, whose batches are divided among the processes.
        num_processes: At least 2.
        config_file: accelerate's config file, or None.
        folders: The function's arguments that are folders, `scratch` among them.
        tables: The arguments that are rows, which each process reads itself.
        seed: Its seed.
        device: "cpu", or the kind of accelerator that each process has one of.
        num_threads: The number of threads of each process.
        restart: Where a killed training leaves what it needs to continue.
        progress: Called with the number of steps.

    Raises:
        TrainingError: If a batch cannot be divided, or a process fails.
    """
    if settings.batch_size % num_processes:
        raise TrainingError(
            f"{what}: a batch of {settings.batch_size} cannot be divided among {num_processes} processes.\n"
            "  remedy: make `batch_size` a multiple of `launch.num_processes`"
        )
    scratch = folders["scratch"]
    scratch.mkdir(parents=True, exist_ok=True)
    job, result, fault, log = (scratch / name for name in ("job.json", "result.json", FAULT, "log"))
    with hold_workspace(scratch, restart) as workspace:
        job.write_text(
            json.dumps(
                {
                    "what": what,
                    "settings": settings.model_dump(mode="json"),
                    "folders": {name: str(path) for name, path in folders.items()},
                    "tables": {name: rows.to_json() for name, rows in tables.items()},
                    "seed": seed,
                    "num_processes": num_processes,
                    "device": device.type,
                    "num_threads": num_threads,
                    "workspace": str(workspace),
                    "every_steps": restart.every_steps,
                }
            )
        )
        command = [
            *_launcher(num_processes, config_file, device),
            "--module",
            __name__,
            str(job),
            str(result),
        ]
        code = _run(command, {"OMP_NUM_THREADS": str(num_threads)}, log=log, progress=progress)
        if fault.exists():
            raise TrainingError(fault.read_text())
        if code or not result.exists():
            said, _, _ = log.read_text(errors="replace").partition(_LAUNCHERS_WORDS)
            raise TrainingError(
                f"{what}: one of {num_processes} processes failed (exit code {code}):\n{said[-_NUM_SHOWN:]}\n"
                "  remedy: see above; `launch.num_processes: 1` gives clearer errors"
            )
    return TypeAdapter(TRAININGS[what][2]).validate_json(result.read_bytes())


def _run(command: Sequence[str], environment: Mapping[str, str], *, log: Path, progress: Progress) -> int:
    """Runs a launcher to its end, reports progress, and returns its exit code."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, prepared before: safe between fork and exec
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                if line.startswith(_PROGRESS):
                    progress(*json.loads(line.removeprefix(_PROGRESS)))
            return process.wait()
        finally:
            process.terminate()  # without effect once it has ended


def _print_progress(what: str, done: int, total: int, note: str = "") -> None:
    sys.stdout.write(f"{_PROGRESS}{json.dumps([what, done, total, note])}\n")
    sys.stdout.flush()


def _launcher(num_processes: int, config_file: Path | None, device: "torch.device") -> list[str]:
    processes = str(num_processes)
    if device.type == "cpu" and config_file is None:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    config = ["--config_file", str(config_file)] if config_file else ["--multi_gpu", "--num_machines", "1"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    return [*launcher, *config, "--num_processes", processes]


def run_job(job: Path, result: Path) -> None:
    """Does one process's part of a training; the first process writes the result.

    Raises:
        ModelError: If a model cannot be opened.
        TrainingError: If training diverges.
    """
    from rlaif_dagster.numerics import prepare_torch

    die_with_parent()
    asked = json.loads(job.read_text())
    train, settings_type, _ = TRAININGS[asked["what"]]
    rank, num_processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if num_processes != asked["num_processes"]:
        raise TrainingError(
            f"accelerate started {num_processes} processes for {asked['num_processes']}.\n"
            "  remedy: set the number in the file of `launch.config_file`, for example with `distributed_type: FSDP`"
        )
    os.environ["ACCELERATE_USE_CPU"] = str(asked["device"] == "cpu").lower()
    settings = TypeAdapter(settings_type).validate_python(asked["settings"])
    settings = settings.model_copy(update={"batch_size": settings.batch_size // num_processes})
    place = "" if asked["device"] == "cpu" else f":{os.environ['LOCAL_RANK']}"
    returned = train(
        **{name: Path(path) for name, path in asked["folders"].items()},
        **{name: StoredRows.from_json(rows) for name, rows in asked["tables"].items()},
        settings=settings,
        seed=asked["seed"],
        device=prepare_torch(num_threads=asked["num_threads"], device=asked["device"] + place),
        restart=Restart(folder=Path(asked["workspace"]), every_steps=asked["every_steps"], held=True),
        progress=ignore_progress if rank else _print_progress,
    )
    if rank == 0:
        result.write_text(json.dumps(asdict(returned)))


if __name__ == "__main__":
    try:
        run_job(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ModelError, TrainingError) as error:
        Path(sys.argv[1]).with_name(FAULT).write_text(str(error))
        sys.exit(1)
