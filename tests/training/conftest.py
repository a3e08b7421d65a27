from pathlib import Path

import pytest
import torch

from rlaif_dagster.numerics import prepare_torch
from tests.training.tiny_models import write_tiny_policy


@pytest.fixture(scope="session")
def device() -> torch.device:
    return prepare_torch(num_threads=1, device="cpu")


@pytest.fixture(scope="session")
def policy_path(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "policy"
    write_tiny_policy(folder)
    return folder
