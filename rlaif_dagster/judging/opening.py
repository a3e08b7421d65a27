"""Opens judges from a version of the `judge` asset."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

from rlaif_dagster.digest import FolderManifest, JsonValue, canonical_json
from rlaif_dagster.judging.calls import Judge, JudgeProfile
from rlaif_dagster.judging.planted import PlantedJudge
from rlaif_dagster.judging.settings import (
    AskedJudgeSettings,
    Combine,
    LocalJudgeSettings,
    OpenAIJudgeSettings,
)
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.numerics import NumericsSettings

if TYPE_CHECKING:
    from rlaif_dagster.serving.limits import Budget

JUDGE_JSON: Final = "judge.json"
JUDGE_TEMPLATE: Final = "template.json"
JUDGE_MODEL: Final = "model"
JURY_FOLDER: Final = "judges"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJudge:
    """A judge in a folder: `judge.json`, `template.json`, and `model/` if it is local.

    Attributes:
        settings: Its settings.
        profile: Its identity.
        model: Its model's folder, if it is local.
    """

    settings: AskedJudgeSettings
    profile: JudgeProfile
    model: Path

    @classmethod
    def read(cls, folder: Path, *, model: Path | None = None) -> "StoredJudge":
        """Reads one judge's folder.

        Args:
            folder: The folder.
            model: The model's folder, if it is not in `folder`.
        """
        adapter: TypeAdapter[AskedJudgeSettings] = TypeAdapter(AskedJudgeSettings)
        settings = adapter.validate_json((folder / JUDGE_JSON).read_bytes())
        template = Template.from_json(json.loads((folder / JUDGE_TEMPLATE).read_bytes()))
        model = model or folder / JUDGE_MODEL
        return cls(
            settings=settings,
            profile=JudgeProfile.from_settings(
                settings, template, model=FolderManifest.from_folder(model).digest if model.is_dir() else None
            ),
            model=model,
        )

    def open(
        self,
        *,
        served_by: OpenAIJudgeSettings | None,
        numerics: NumericsSettings | None,
        batch_size: int,
        budget: "Budget | None" = None,
    ) -> Judge:
        """Opens the judge, ready to be asked.

        Args:
            served_by: The current settings of a served judge: where, how fast and at what price it is asked.
            numerics: How a local judge computes; None if no judge is local.
            batch_size: The largest number of calls that a local judge answers at once.
            budget: What a served judge may spend, if that is shared.

        Raises:
            JudgeError: If it cannot be asked.
        """
        if isinstance(self.settings, LocalJudgeSettings):
            if numerics is None:
                raise TypeError("a local judge needs `numerics`")
            from rlaif_dagster.judging.local import LocalJudge
            from rlaif_dagster.numerics import prepare_torch

            return LocalJudge(
                self.settings,
                self.profile.template,
                folder=self.model,
                device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
                batch_size=batch_size,
            )
        if isinstance(self.settings, OpenAIJudgeSettings):
            from rlaif_dagster.judging.served import ServedJudge

            return ServedJudge(
                self.settings,
                self.profile.template,
                served_by=served_by,
                budget=budget,
            )
        return PlantedJudge(self.settings, self.profile.template)


def describe_judge(settings: AskedJudgeSettings, template: Template) -> dict[str, JsonValue]:
    """Describes a judge for `judge.json`."""
    return {**settings.describe(), "template": str(template.digest)}


def write_judge(folder: Path, settings: AskedJudgeSettings, template: Template) -> None:
    """Writes what `StoredJudge.read` reads, except the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JUDGE_JSON).write_bytes(canonical_json(describe_judge(settings, template)))
    (folder / JUDGE_TEMPLATE).write_bytes(canonical_json(template.to_json()))


def read_judges(folder: Path) -> dict[str, StoredJudge]:
    """Reads a version of the `judge` asset: its judges by name; none if the verdicts are recorded."""
    members = sorted((folder / JURY_FOLDER).glob("*"), key=lambda path: int(path.name))
    if not members and (folder / JUDGE_TEMPLATE).is_file():
        members = [folder]
    judges = [StoredJudge.read(member) for member in members]
    return {judge.profile.name: judge for judge in judges}


def read_combine(folder: Path) -> Combine:
    """Reads how a version of the `judge` asset combines the verdicts of several judges."""
    combine: Combine = json.loads((folder / JUDGE_JSON).read_bytes()).get("combine", "mean")
    return combine
