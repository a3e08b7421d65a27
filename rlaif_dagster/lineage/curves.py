"""Training curves while they grow: in TensorBoard, where the extra is installed.

They are for whoever watches; what stays is `training.json` in the model's version. So they lie in this machine's own
folder, and with or without them a version has the same bytes.
"""

import datetime
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rlaif_dagster.lineage.project import Project

TENSORBOARD: Final = "tensorboard"
LOGGING_FOLDER: Final = "TENSORBOARD_LOGGING_DIR"
"""Environment variable in which transformers' trainers find where to write."""


@contextmanager
def showing_curves(project: Project, asset: str, started_at: datetime.datetime) -> Iterator[None]:
    """Lets trainings inside write their curves to `.rlaif/tensorboard/<asset>/<time>/`."""
    if importlib.util.find_spec(TENSORBOARD) is None:
        yield
        return
    before = os.environ.get(LOGGING_FOLDER)
    folder = project.scratch / TENSORBOARD / asset / f"{started_at:%Y-%m-%dT%H-%M-%S}"
    os.environ[LOGGING_FOLDER] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[LOGGING_FOLDER]
        else:
            os.environ[LOGGING_FOLDER] = before
