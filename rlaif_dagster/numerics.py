"""Configures torch so that the same inputs give the same bytes."""

import logging
import os
import warnings
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.errors import ModelError

if TYPE_CHECKING:
    import torch


class NumericsSettings(BaseModel):
    """How numbers are computed; part of the recipe of every stage that runs a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_threads: int = Field(default=1, ge=1)
    """The number of threads of one operation. Sums are split by thread, so it changes low bits of results."""
    device: str = "cpu"
    """`cpu`, `cuda`, `mps`, or `auto` for the first available accelerator."""


def prepare_torch(*, num_threads: int, device: str) -> "torch.device":
    """Fixes threads and deterministic kernels, quietens the libraries, and returns the device to use.

    Args:
        num_threads: Intra-op threads, >= 1. Part of a recipe, because sums are split by thread.
        device: "cpu", "cuda", "mps", or "auto" for the first available accelerator, else the CPU.

    Raises:
        ModelError: If this machine does not have the named device.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    quieten_libraries()
    import datasets
    import torch

    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode would fill every fresh buffer with NaN, which costs half of a small DPO run.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # set on the module
    datasets.disable_progress_bars()
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device {device!r} cannot be used on this machine ({error}).\n"
            "  remedy: set `numerics.device` in inputs/pipeline.yaml to cpu or auto"
        ) from error
    return chosen


def quieten_libraries() -> None:
    """Stops transformers and the Hub's library from writing to the terminal and (if called first) from telemetry."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
