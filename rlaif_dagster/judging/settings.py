"""Settings of the judge, spelled as in `inputs/judge.yaml`: what all judges have in common, and how one is selected.

A *provider* is a subclass of `AskedJudgeSettings`, in its own file, named in the entry point group
`rlaif_dagster.judges`. Its fields are what a person writes in judge.yaml. Its methods and class variables define the
rest: how the judge is opened, what it costs, which templates it refuses. The package's own providers are in
`rlaif_dagster.judging.providers`; docs/extending.md shows how another distribution adds one.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from rlaif_dagster.judging.calls import Call, Judge
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import RecordedResult
from rlaif_dagster.models import ModelSettings
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.plugins import ChosenBy, PlugIns
from rlaif_dagster.serving.limits import Budget
from rlaif_dagster.serving.settings import BudgetSettings, PriceSettings

JudgingProtocol = Literal["per_principle", "joint", "one_principle"]
"""One principle at a time; the whole constitution at once; or one principle drawn for each pair."""
VerdictReading = Literal["logprob", "text"]
"""Verdicts from the next-token probabilities of the verdict words, or from what the judge writes."""
Combine = Literal["mean", "majority", "reliability"]
"""How a jury's verdicts are combined; see `rlaif_dagster.judging.jury`."""

SPEED_ONLY: Final = "speed only"
"""Marks a field, by `Annotated`, that says where, how fast, at what price and with which gates a judge is asked, but
not what it is. No recipe and no fingerprint includes it, and a change of it asks no question again."""
PLUG_IN: Final = "plug_in"
"""The field of a description that names a provider's distribution, if that is not this package."""


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class CanarySettings(_Settings):
    """How a changed judge is detected: a fixed set of its questions is asked again."""

    num_questions: int = Field(default=32, ge=1)
    """How many questions are asked again."""
    max_changed: float | None = Field(default=0.1, ge=0.0, le=1.0)
    """The largest share of these questions whose verdict may have changed; null disables the check."""


class GateSettings(_Settings):
    """The thresholds that a judge must meet before anything is trained on its verdicts; null and false disable a gate.

    A figure passes if its whole 95 % interval is on the good side of the threshold. Each judge of a jury must pass.
    """

    min_coverage: float = Field(default=0.9, ge=0.0, le=1.0)
    """The smallest share of the questions with a usable verdict; the share itself is compared, without an interval."""
    min_order_agreement: float | None = Field(default=0.5, ge=0.0, le=1.0)
    """The share of questions whose verdicts in both orders prefer the same answer; guessing gives 0.5."""
    max_unparsed_rate: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of questions answered without a clear verdict."""
    min_ground_truth_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of labels that agree with `evaluation.ground_truth`, by order, on pairs where it prefers an answer."""
    min_human_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of labels that agree with the human labels."""
    beats_longer_wins: bool = False
    """If true, labels must agree with the ground truth (or else people) more often than the longer answer does."""
    max_injection_success: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of attacks inside an answer that make the judge prefer the worse answer."""
    stronger_than_policy: bool = False
    """If true, labels must agree with the ground truth (or else people) more often than the base policy's choices."""
    canary: CanarySettings = CanarySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The arguments with which a judge is opened.

    Attributes:
        template: Its prompt.
        model: The folder of the model that it names, if it names one.
        numerics: How numbers are computed; None if no judge runs a model here.
        batch_size: The largest number of calls that a judge that runs here should answer at once.
        budget: What may be spent, if that is shared with other judges or stages.
    """

    template: Template
    model: Path
    numerics: NumericsSettings | None = None
    batch_size: int = 128
    budget: Budget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBounds:
    """Bounds of the tokens that one call reads and writes, known before it is made."""

    least_read: int
    most_read: int
    most_written: int


class JudgeSettings(_Settings):
    """The settings that all providers have in common: judges that are asked, juries, and recorded verdicts."""

    provider: str
    """The kind of judge; each subclass sets its name with `Literal`."""
    gates: Annotated[GateSettings, SPEED_ONLY] = GateSettings()
    """The thresholds that the judge must meet before anything is trained on its verdicts."""
    human_labels: Annotated[str | None, SPEED_ONLY] = Field(default=None, min_length=1)
    """A file of people's labels, on which the judge is measured; a path inside the project."""

    @property
    def members(self) -> "tuple[AskedJudgeSettings, ...]":
        """The judges that are asked: the one judge, those of a jury, or none for recorded verdicts."""
        return ()

    @property
    def combined_by(self) -> Combine:
        """How verdicts of several judges are combined."""
        return "mean"

    @property
    def verdicts_file(self) -> str | None:
        """The file with the verdicts, a path inside the project; None if judges are asked."""
        return None

    def read_verdicts(
        self, file: Path, responses: Iterable[Mapping[str, Any]], *, principle_ids: Collection[str]
    ) -> RecordedResult:
        """Reads the verdicts of `verdicts_file`.

        Args:
            file: A copy of the file.
            responses: Rows with `response_id`, `prompt_id` and `source`.
            principle_ids: The principles of the constitution.

        Raises:
            InputError: If a line is wrong, or does not match the responses.
        """
        raise TypeError(f"the provider {self.provider} reads no verdicts from a file")

    def describe(self) -> dict[str, Any]:
        """Describes what decides the judge's identity, answers and name: its fields, and the origin of a plug-in."""
        described = self.model_dump(mode="json", exclude=set(list_speed_fields(type(self))))
        plug_in = JUDGES.find_plug_in(self.provider)
        if plug_in is not None and plug_in.origin is not None:
            described[PLUG_IN] = plug_in.origin
        return described


class AskedJudgeSettings(JudgeSettings):
    """A judge that answers new questions. A provider defines `provider`, further fields, and `open_judge`."""

    is_final: ClassVar[bool] = False
    """Whether asking again would give the same answer without a verdict."""
    is_free: ClassVar[bool] = False
    """Whether asking costs no fees. If it is not free and has no price, the cost is unknown."""

    name: str | None = Field(default=None, min_length=1)
    """The judge's name in tables; default: the model's name, or the provider's if there is no field `model`."""
    template: str = Field(default="pairwise", min_length=1)
    """A packaged template or a `.yaml` file inside the project."""
    protocol: JudgingProtocol = "per_principle"
    repeats: int = Field(default=1, ge=1, le=100)
    """How often each question is asked; the answers are averaged."""
    max_answer_chars: int | None = Field(default=None, ge=1)
    """Longer answers are cut to this many characters, and marked, before the judge sees them; null cuts none."""

    @property
    def members(self) -> "tuple[AskedJudgeSettings, ...]":
        """The judge itself."""
        return (self,)

    @property
    def reading(self) -> VerdictReading:
        """How its answers are read."""
        return "text"

    @property
    def named_model(self) -> ModelSettings | None:
        """The model that it runs here, identified by the digest of its folder; None if it runs none."""
        return None

    @property
    def max_tokens_written(self) -> int | None:
        """The longest text that it writes, in tokens; None if it writes only verdicts, so cannot be a critic."""
        return None

    @property
    def token_price(self) -> PriceSettings | None:
        """What tokens cost, if the settings say it."""
        return None

    @property
    def run_budget(self) -> BudgetSettings | None:
        """What one run may spend; None if the judge costs nothing."""
        return None

    @property
    def retries_unparsed(self) -> bool:
        """Whether questions whose reply has no verdict are asked again, if that may give another reply."""
        return False

    def bound_tokens(self, template: Template) -> Callable[[Call], TokenBounds] | None:
        """Returns a function that bounds a call's tokens before it is made; None if they are unknown."""
        del template
        return None

    def check_template(self, template: Template) -> None:
        """Refuses a template that does not suit this judge.

        Raises:
            ValueError: If it does not; the text says what is wrong, then "; remedy: " and what to do.
        """

    @abstractmethod
    def open_judge(self, opening: Opening) -> Judge:
        """Opens the judge, ready to be asked. Imports heavy libraries here or at the first question.

        Raises:
            JudgeError: If it cannot be asked.
        """

    def take_speed(self, today: "AskedJudgeSettings | None") -> Self:
        """Returns the same judge with the address, speed and price of the settings `today`."""
        if today is None:
            return self
        return self.model_copy(
            update={
                name: getattr(today, name) for name in list_speed_fields(type(self)) if hasattr(today, name)
            }
        )


JUDGES: Final = PlugIns(group="rlaif_dagster.judges", noun="judge provider", kind=JudgeSettings)
"""The judge providers of all installed distributions."""
AnyJudge = Annotated[JudgeSettings, ChosenBy(JUDGES, "provider")]
"""The settings of any judge; `provider` says which."""
AskedJudge = Annotated[AskedJudgeSettings, ChosenBy(JUDGES, "provider", AskedJudgeSettings)]
"""The settings of a judge that is asked."""


def list_speed_fields(settings: type[JudgeSettings]) -> list[str]:
    """Lists the fields of a provider that are not part of its judge's identity."""
    return [name for name, info in settings.model_fields.items() if SPEED_ONLY in info.metadata]


def name_judge(settings: AskedJudgeSettings) -> str:
    """The judge's name in tables."""
    return settings.name or getattr(settings, "model", None) or settings.provider


def find_protocol(settings: JudgeSettings) -> JudgingProtocol:
    """Finds how a judge, or each judge of a jury, is shown the constitution; recorded verdicts say it in their rows."""
    members = settings.members
    return members[0].protocol if members else "per_principle"
