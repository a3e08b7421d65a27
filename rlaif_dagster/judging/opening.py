"""Opens judges from a version of the `judge` asset."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from rlaif_dagster.digest import FolderManifest, JsonValue, canonical_json
from rlaif_dagster.judging.calls import Judge
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.settings import (
    JUDGES,
    PLUG_IN,
    AnyJudge,
    AskedJudgeSettings,
    Combine,
    JudgeSettings,
    Opening,
)
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.names import JUDGE_JSON, JUDGE_TEMPLATE
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.serving.limits import Budget

JUDGE_MODEL: Final = "model"
JURY_FOLDER: Final = "judges"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJudge:
    """A judge in a folder: `judge.json`, `template.json`, and `model/` if it names one.

    Attributes:
        settings: Its settings.
        profile: Its identity.
        model: Its model's folder, if it names one.
    """

    settings: AskedJudgeSettings
    profile: JudgeProfile
    model: Path

    @classmethod
    def read(cls, folder: Path, *, model: Path | None = None) -> "StoredJudge":
        """Reads one judge's folder.

        Args:
            folder: The folder.
            model: The folder of the model that the judge names, if it is not in `folder`.

        Raises:
            PlugInError: If its provider is not installed as it was when the folder was written.
        """
        settings = read_settings(folder)
        if not isinstance(settings, AskedJudgeSettings):
            raise TypeError(f"{folder} has no judge that can be asked")
        template = Template.from_json(json.loads((folder / JUDGE_TEMPLATE).read_bytes()))
        own = folder / JUDGE_MODEL
        if settings.named_model is None or own.is_dir() or model is None:
            model = own
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
        today: AskedJudgeSettings | None,
        numerics: NumericsSettings | None,
        batch_size: int,
        budget: Budget | None = None,
    ) -> Judge:
        """Opens the judge, ready to be asked.

        Args:
            today: The current settings: where, how fast and at what price the judge is asked.
            numerics: How numbers are computed; None if no judge runs a model here.
            batch_size: The largest number of calls that a judge that runs here answers at once.
            budget: What may be spent, if that is shared.

        Raises:
            JudgeError: If it cannot be asked.
        """
        return self.settings.take_speed(today).open_judge(
            Opening(
                template=self.profile.template,
                model=self.model,
                numerics=numerics,
                batch_size=batch_size,
                budget=budget,
            )
        )


def read_settings(folder: Path) -> JudgeSettings:
    """Reads the settings of a judge or of recorded verdicts with the provider that wrote them.

    Raises:
        PlugInError: If it is not installed, or not from the same distribution and version as then.
    """
    described = json.loads((folder / JUDGE_JSON).read_bytes())
    JUDGES.require_origin(described["provider"], described.pop(PLUG_IN, None))
    adapter: TypeAdapter[JudgeSettings] = TypeAdapter(AnyJudge)
    return adapter.validate_python(described)


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
