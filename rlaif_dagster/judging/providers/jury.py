"""Several judges, each asked every question."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlaif_dagster.judging.settings import (
    AskedJudge,
    AskedJudgeSettings,
    Combine,
    GateSettings,
    JudgeSettings,
    name_judge,
)


class JurySettings(JudgeSettings):
    """Several judges, each asked every question."""

    provider: Literal["jury"]
    judges: list[AskedJudge] = Field(min_length=2)
    combine: Combine = "mean"
    """`mean` of their probabilities; `majority` of their verdicts; `reliability`: votes weighted by the log-odds that
    a judge is right, estimated from all the judges' verdicts."""

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        names = [name_judge(judge) for judge in self.judges]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"two judges are called {repeated[0]!r}; remedy: set a different `name` for each"
            )
        if any(judge.gates != GateSettings() or judge.human_labels for judge in self.judges):
            raise ValueError(
                "a judge has gates or human_labels of its own; remedy: set them once, for the whole jury"
            )
        if len({judge.protocol for judge in self.judges}) > 1:
            raise ValueError(
                "the judges have different protocols, whose verdicts cannot be combined; "
                "remedy: set the same `protocol` for all judges"
            )
        return self

    @property
    def members(self) -> tuple[AskedJudgeSettings, ...]:
        """Its judges."""
        return tuple(self.judges)

    @property
    def combined_by(self) -> Combine:
        """The setting `combine`."""
        return self.combine

    def describe(self) -> dict[str, Any]:
        """Describes how its verdicts are combined; each of its judges is described separately."""
        return {name: value for name, value in super().describe().items() if name != "judges"}
