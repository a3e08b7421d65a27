"""Writes training curves for TensorBoard during training, if the extra is installed.

The curves are only for watching; `training.json` in the model's version is the lasting record. So they are written to
this machine's own folder, and a version has the same bytes with or without them.
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
"""Environment variable that tells transformers' trainers where to write."""


@contextmanager
def showing_curves(project: Project, asset: str, started_at: datetime.datetime) -> Iterator[None]:
    """Makes trainings inside the context write their curves to `.rlaif/tensorboard/<asset>/<time>/`."""
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
