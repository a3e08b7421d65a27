"""Projects that are made quickly, and `rlaif` on them in processes of its own."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from rlaif_dagster.cli.init import init_command

RECORDED = Path(__file__).parent.parent / "examples" / "recorded" / "inputs"
TRAINED: Mapping[str, Any] = {
    "sampling": {"provider": "local", "num_samples": 4, "max_new_tokens": 40},
    "pairing": {"max_pairs_per_prompt": 2},
    "reward_model": {"learning_rate": 1e-3, "num_epochs": 6.0, "batch_size": 16},
    "policy": {
        "method": "dpo",
        "learning_rate": 3e-4,
        "max_steps": 2,
        "checkpoint_steps": 2,
        "checkpoint_prompts": 2,
        "max_new_tokens": 16,
    },
    "evaluation": {"num_samples": 1, "max_new_tokens": 16, "ground_truth": "embedded_world"},
    "release": {"require": []},
}
"""Sections of `pipeline.yaml` for a reward model that passes its gate, and little else."""
_NUM_PROMPTS = 60


def init_project(folder: Path) -> None:
    """A project as `rlaif init` makes it."""
    with redirect_stdout(io.StringIO()):
        init_command(folder)


def make_recorded(folder: Path) -> None:
    """A project with recorded answers and verdicts."""
    init_project(folder)
    shutil.copytree(RECORDED, folder / "inputs", dirs_exist_ok=True)


def make_trained(folder: Path) -> None:
    """A project that makes everything itself, quickly: one principle, few prompts, few steps."""
    init_project(folder)
    inputs = folder / "inputs"
    for name, change in (
        ("pipeline.yaml", TRAINED),
        ("constitution.yaml", {"principles": [{"id": "polite", "text": "Be polite to the user."}]}),
    ):
        text = yaml.safe_dump(yaml.safe_load((inputs / name).read_text()) | change)
        (inputs / name).write_text(text)
    prompts = inputs / "prompts.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:_NUM_PROMPTS]))


def start_rlaif(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts an `rlaif` command as the leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rlaif_dagster.cli.main", *arguments, "--project", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "RLAIF_PROJECT")},
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for a command and returns its output.

    Raises:
        RuntimeError: If it fails.
    """
    output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"rlaif ended with {process.returncode}:\n{output}\n{errors}")
    return output
