"""Verdicts that exist already: no judge is asked."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rlaif_dagster.judging.recorded import read_recorded_verdicts
from rlaif_dagster.judging.settings import JudgeSettings
from rlaif_dagster.judging.verdicts import RecordedResult
from rlaif_dagster.names import JUDGE_VERDICTS


class RecordedJudgeSettings(JudgeSettings):
    """Verdicts that exist already, read from a file (see `rlaif_dagster.judging.recorded`)."""

    provider: Literal["recorded"]
    verdicts: str = Field(min_length=1)
    """The verdicts file, a path inside the project."""
    name: str | None = Field(default=None, min_length=1)
    """Which judge's rows to read; needed only if the file has several judges."""

    @property
    def verdicts_file(self) -> str:
        """The verdicts file."""
        return self.verdicts

    def read_verdicts(
        self, file: Path, responses: Iterable[Mapping[str, Any]], *, principle_ids: Collection[str]
    ) -> RecordedResult:
        """Reads the verdicts; see `rlaif_dagster.judging.recorded` for their format."""
        return read_recorded_verdicts(file, responses, name=self.name, principle_ids=principle_ids)

    def describe(self) -> dict[str, Any]:
        """Describes what is read without the path: the file is identified by its digest."""
        return {**super().describe(), "verdicts": JUDGE_VERDICTS}
