"""Trainings of tiny models as the stages start them, in this process or in one that is killed on the way."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.aligned_policy import build_aligned_policy
from rlaif_dagster.graph.learning import train
from rlaif_dagster.graph.reward_model import build_reward_model
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.inputs.project_inputs import ProjectInputs, RecordedFile
from rlaif_dagster.numerics import prepare_torch
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.tables import Row, StoredRows
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.methods.online import OnlineSettings
from rlaif_dagster.training.settings import (
    GuardSettings,
    LaunchSettings,
    OptimizerSettings,
    RewardModelSettings,
)
from tests.training.preferences import shorter_is_better, split_rows

PROCESSES = multiprocessing.get_context("forkserver")
"""Processes are forked from a server that has made the imports and nothing else."""
PROCESSES.set_forkserver_preload(["tests.training.processes", "rlaif_dagster.training.sampled_trainers"])

NUM_STEPS, RESTART_STEPS, KILLED_AT = 6, 4, 5
POLICY: dict[str, Any] = {
    "max_steps": NUM_STEPS,
    "checkpoint_steps": 2,
    "checkpoint_prompts": 12,
    "max_new_tokens": 12,
    "max_length": 64,
    "batch_size": 16,
}
SETTINGS: dict[str, OptimizerSettings] = {
    "reward": RewardModelSettings(learning_rate=2e-3, max_steps=NUM_STEPS, batch_size=16, ensemble=2),
    "dpo": DpoSettings(learning_rate=1e-3, reward_filter=None, **POLICY),
    # No guard: on some processors this policy shrinks so fast that the guard would end the training.
    "rloo": OnlineSettings(
        method="rloo",
        learning_rate=3e-3,
        guard=GuardSettings(max_length_ratio=None, max_disagreement_ratio=None),
        **POLICY,
    ),
}


def store(rows: list[Row], path: Path) -> StoredRows:
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return StoredRows(path=path, columns=tuple(rows[0]))


def train_tiny(
    name: str,
    folder: Path,
    output: str,
    *,
    policy: Path,
    reward_model: Path,
    config: Path | None = None,
    num_processes: int = 1,
    progress: Progress = ignore_progress,
) -> Any:
    """Trains what `SETTINGS` names into a folder; all trainings of it share a journal."""
    inputs = ProjectInputs.read(TEMPLATE_ROOT)
    execution = inputs.pipeline.execution.model_copy(update={"restart_steps": RESTART_STEPS})
    launch = LaunchSettings(num_processes=num_processes, config_file=config.name if config else None)
    context = StageContext(
        inputs={},
        digests={},
        output=folder / output,
        scratch=folder / f"{output}-scratch",
        journal=folder / "journal",
        attempt=output,
        services=NoHistory(progress=progress),
    )
    rows, held_out = (
        store(rows, folder / f"{split}.parquet")
        for split, rows in zip(("train", "eval"), split_rows(shorter_is_better()), strict=True)
    )
    rewards = name == "reward"
    inputs = replace(
        inputs,
        pipeline=inputs.pipeline.model_copy(update={"execution": execution, "launch": launch}),
        launch_config=RecordedFile(path=config, digest=Digest.from_file(config)) if config else None,
    )
    build = build_reward_model if rewards else build_aligned_policy
    settings = {"reward_model" if rewards else "policy": SETTINGS[name]}
    return train(
        "reward model" if rewards else "policy",
        context,
        replace(build(inputs).identity.spec, **settings),
        folders={"base_path": policy}
        if rewards
        else {"base_policy_path": policy, "reward_model_path": reward_model},
        tables={"rows": rows, "held_out_rows": held_out} if rewards else {"rows": rows},
        settings=SETTINGS[name],
        seed=2**40 + 1,
    )


def train_until_killed(*arguments: Any, **more: Any) -> None:
    """Trains in a process group of its own, and kills that as a whole when the first process has done some steps."""
    os.setsid()
    prepare_torch(num_threads=1, device="cpu")

    def kill(what: str, done: int, total: int, note: str = "") -> None:
        if what.endswith("steps") and done == KILLED_AT:
            os.killpg(0, signal.SIGKILL)

    train_tiny(*arguments, progress=kill, **more)
