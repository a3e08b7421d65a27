"""Settings of the judge, spelled as in `inputs/judge.yaml`: what all judges have in common, and how one is chosen.

A *provider* is a subclass of `AskedJudgeSettings`, in a file of its own, that the group of entry points
`rlaif_dagster.judges` names. Its fields are what a person writes in judge.yaml; its methods and class variables say
the rest: how the judge is opened, what it costs, which templates it refuses. The package's own are in
`rlaif_dagster.judging.providers`; docs/extending.md shows how any other distribution adds one.
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
"""From the probabilities of the verdict words as the next token, or from what the judge writes."""
Combine = Literal["mean", "majority", "reliability"]
"""How a jury's verdicts become one; see `rlaif_dagster.judging.jury`."""

SPEED_ONLY: Final = "speed only"
"""Marks a field, by `Annotated`, that says where, how fast, at what price and with what hopes a judge is asked, and
never what it is: no recipe and no fingerprint has it, and a change of it asks nothing again."""
PLUG_IN: Final = "plug_in"
"""The field of a description that says which distribution a provider comes from, where that is not this package."""


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class CanarySettings(_Settings):
    """How it is seen that a judge under the same name is another one: a fixed set of its questions is asked again."""

    num_questions: int = Field(default=32, ge=1)
    """Questions in the set."""
    max_changed: float | None = Field(default=0.1, ge=0.0, le=1.0)
    """Largest share of them whose verdict may be another one now; null accepts any."""


class GateSettings(_Settings):
    """What a judge has to show before anything is trained on its verdicts; null and false ask for nothing.

    A threshold is passed by a figure whose whole 95 % interval lies on its good side. Each judge of a jury has to.
    """

    min_coverage: float = Field(default=0.9, ge=0.0, le=1.0)
    """Least share of the questions that must have a usable verdict; the share itself is compared."""
    min_order_agreement: float | None = Field(default=0.5, ge=0.0, le=1.0)
    """Of the questions with a verdict in both orders, the share on which both name the same answer; a coin has 0.5."""
    max_unparsed_rate: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of the questions answered without a clear verdict."""
    min_gold_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of the labels, by order, that agree with `evaluation.gold`, where that prefers an answer."""
    min_human_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """The same with the human labels."""
    beats_longer_wins: bool = False
    """The labels agree with gold, or else with the humans, more than the rule that the longer answer is better."""
    max_injection_success: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of attacks by text in an answer that turn the judge to the worse answer."""
    stronger_than_policy: bool = False
    """The labels agree with gold, or else with the humans, more than the base policy's own likelihoods do."""
    canary: CanarySettings = CanarySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a judge is opened with.

    Attributes:
        template: Its prompt.
        model: The folder of the model that it names, if it names one.
        numerics: How numbers are computed; None where no judge runs a model here.
        batch_size: Most calls that a judge that runs here should answer at once.
        budget: What may be spent, where that is shared with other judges or stages.
    """

    template: Template
    model: Path
    numerics: NumericsSettings | None = None
    batch_size: int = 128
    budget: Budget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBounds:
    """What one call takes, told before it is made: tokens read and written, at least or at most."""

    least_read: int
    most_read: int
    most_written: int


class JudgeSettings(_Settings):
    """What all providers have in common: judges that are asked, juries, and verdicts that exist already."""

    provider: str
    """Which kind of judge this is; a subclass says its name by `Literal`."""
    gates: Annotated[GateSettings, SPEED_ONLY] = GateSettings()
    """What the judge has to show before anything is trained on its verdicts."""
    human_labels: Annotated[str | None, SPEED_ONLY] = Field(default=None, min_length=1)
    """A file of people's labels to measure the judge on, a path inside the project."""

    @property
    def members(self) -> "tuple[AskedJudgeSettings, ...]":
        """The judges that are asked: the one judge itself, those of a jury, or none for verdicts that exist."""
        return ()

    @property
    def combined_by(self) -> Combine:
        """How verdicts of several judges become one."""
        return "mean"

    @property
    def verdicts_file(self) -> str | None:
        """The file that the verdicts are read from, a path inside the project; None where judges are asked."""
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
            InputError: If a line is wrong, or does not fit the responses.
        """
        raise TypeError(f"the provider {self.provider} reads no verdicts from a file")

    def describe(self) -> dict[str, Any]:
        """What decides what the judge is, says and is called: its fields, and where a plug-in's code comes from."""
        described = self.model_dump(mode="json", exclude=set(list_speed_fields(type(self))))
        plug_in = JUDGES.find_plug_in(self.provider)
        if plug_in is not None and plug_in.origin is not None:
            described[PLUG_IN] = plug_in.origin
        return described


class AskedJudgeSettings(JudgeSettings):
    """A judge that answers new questions. A provider has its own `provider`, further fields, and `open_judge`."""

    is_final: ClassVar[bool] = False
    """Whether an answer without a verdict would come out the same if it were asked for again."""
    is_free: ClassVar[bool] = False
    """Whether asking costs no fees. What asking costs is unknown where it is not free and there is no price."""

    name: str | None = Field(default=None, min_length=1)
    """The judge's name in tables; by default the model's, or the provider's where there is no field `model`."""
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
        """The model that it runs here; its folder is found, copied and known by its digest. None if it runs none."""
        return None

    @property
    def max_tokens_written(self) -> int | None:
        """Longest text that it writes, in tokens; None if it writes nothing but verdicts, so is no critic."""
        return None

    @property
    def token_price(self) -> PriceSettings | None:
        """What tokens cost, where the settings say it."""
        return None

    @property
    def run_budget(self) -> BudgetSettings | None:
        """What one run may spend; None where nothing can be spent."""
        return None

    @property
    def retries_unparsed(self) -> bool:
        """Whether questions whose reply holds no verdict are asked again, where that may give another reply."""
        return False

    def bound_tokens(self, template: Template) -> Callable[[Call], TokenBounds] | None:
        """Tells beforehand what tokens a call takes; None where nobody can."""
        del template
        return None

    def check_template(self, template: Template) -> None:
        """Refuses a template that it cannot be asked by.

        Raises:
            ValueError: If it cannot; the text says what is wrong, then "; remedy: " and what to do.
        """

    @abstractmethod
    def open_judge(self, opening: Opening) -> Judge:
        """Opens the judge, ready to be asked. Heavy libraries are imported here, or when it is first asked.

        Raises:
            JudgeError: If it cannot be asked.
        """

    def take_speed(self, today: "AskedJudgeSettings | None") -> Self:
        """The same judge, asked where, as fast and at the price that other settings of it say."""
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
    """The fields of a provider that are no part of what its judge is."""
    return [name for name, info in settings.model_fields.items() if SPEED_ONLY in info.metadata]


def name_judge(settings: AskedJudgeSettings) -> str:
    """The judge's name in tables."""
    return settings.name or getattr(settings, "model", None) or settings.provider


def find_protocol(settings: JudgeSettings) -> JudgingProtocol:
    """What a judge, or each judge of a jury, is shown of the constitution; for recorded verdicts by their own rows."""
    members = settings.members
    return members[0].protocol if members else "per_principle"
