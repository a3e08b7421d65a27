"""What training stages share: how many processes, where a killed training continues, training curves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rlaif_dagster.digest import Digest, JsonValue, canonical_json
from rlaif_dagster.graph.responses import MODEL_ENGINE
from rlaif_dagster.graph.specs import derive_settings
from rlaif_dagster.graph.stage import (
    StageContext,
)
from rlaif_dagster.inputs.project_inputs import ProjectInputs, RecordedFile
from rlaif_dagster.names import TRAINING_JSON
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.tables import StoredRows
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.settings import OptimizerSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TRAINING_ENGINE: Final = (*MODEL_ENGINE, "trl", "peft", "accelerate", "datasets", "matplotlib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How several processes train together; with accelerate's config file, if there is one."""

    num_processes: int
    config: RecordedFile | None

    @classmethod
    def from_inputs(cls, inputs: ProjectInputs) -> "Launch | None":
        """Reads how a project's trainings are launched; None for one process."""
        num_processes = inputs.pipeline.launch.num_processes
        return None if num_processes == 1 else cls(num_processes=num_processes, config=inputs.launch_config)

    def describe(self) -> JsonValue:
        """The value in a recipe."""
        return {
            "num_processes": self.num_processes,
            "config": str(self.config.digest) if self.config else None,
        }


class TrainingSpec(Protocol):
    """What the specs of stages that train have in common."""

    @property
    def numerics(self) -> NumericsSettings:
        """How numbers are computed."""

    @property
    def launch(self) -> Launch | None:
        """How several processes are launched; None to train in this process."""

    @property
    def restart_steps(self) -> int:
        """Steps between restart points."""


def train(
    what: str,
    context: StageContext,
    spec: TrainingSpec,
    *,
    folders: Mapping[str, Path],
    tables: Mapping[str, StoredRows],
    settings: OptimizerSettings,
    seed: int,
) -> Any:
    """Trains a reward model or a policy in the requested number of processes; see `training.launch.TRAININGS`."""
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.training.launch import TRAININGS, train_in_processes

    numerics, launch = spec.numerics, spec.launch
    device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
    folders = {**folders, "output": context.output, "scratch": context.scratch}
    restart = plan_restart(context, spec, every_steps=spec.restart_steps)
    if launch is None:
        function, _, _ = TRAININGS[what]
        return function(
            **folders,
            **tables,
            settings=settings,
            seed=seed,
            device=device,
            restart=restart,
            progress=context.services.progress,
        )
    if launch.config is not None:
        launch.config.require_unchanged()
    return train_in_processes(
        what,
        settings,
        num_processes=launch.num_processes,
        config_file=launch.config.path if launch.config else None,
        folders=folders,
        tables=tables,
        seed=seed,
        device=device,
        num_threads=numerics.num_threads,
        restart=restart,
        progress=context.services.progress,
    )


def plan_restart(context: StageContext, spec: Any, *, every_steps: int) -> Restart:
    """Plans where this training, identified by inputs and settings, leaves its restart points."""
    digests: JsonValue = {name: str(digest) for name, digest in context.digests.items()}
    return Restart(
        folder=context.journal / Digest.from_json([digests, derive_settings(spec)]).short,
        every_steps=every_steps,
    )


def write_training(folder: Path, values: Mapping[str, Any], figures: "Mapping[str, Figure]") -> None:
    """Writes training curves beside a model's files."""
    (folder / TRAINING_JSON).write_bytes(canonical_json(values))
    write_plots(folder, figures)


def write_plots(folder: Path, figures: "Mapping[str, Figure]") -> None:
    """Writes figures as PNG into `plots/`, where the Dagster UI finds them."""
    from rlaif_dagster.drawing import to_png

    (folder / "plots").mkdir()
    for name, figure in figures.items():
        (folder / "plots" / f"{name}.png").write_bytes(to_png(figure))


def read_training(folder: Path) -> dict[str, Any]:
    """Reads training curves from a version of a model."""
    training: dict[str, Any] = json.loads((folder / TRAINING_JSON).read_bytes())
    return training
