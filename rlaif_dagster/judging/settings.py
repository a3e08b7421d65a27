"""Settings of the judge, spelled as in `inputs/judge.yaml`."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from rlaif_dagster.serving.settings import LimitSettings, PriceSettings

JudgingProtocol = Literal["per_principle", "joint", "one_principle"]
"""One principle at a time; the whole constitution at once; or one principle drawn for each pair."""
VerdictReading = Literal["logprob", "text"]
"""From the probabilities of the verdict words as the next token, or from what the judge writes."""
Combine = Literal["mean", "majority", "reliability"]
"""How a jury's verdicts become one; see `rlaif_dagster.judging.jury`."""

NO_IDENTITY: Final = ("api_key_env", "max_tokens_name", "limits", "price", "gates", "human_labels")
"""Fields that say where, how fast, at what price and with what hopes a judge is asked, and never what it is."""
_LONGEST_REPLY: Final = "set max_tokens, and max_tokens_name where the server calls it otherwise"
RESERVED_FIELDS: Final = {
    "model": "set model",
    "messages": "set template",
    "stream": "leave it out: replies are read whole",
    "n": "set repeats",
    "best_of": "set repeats",
    "logprobs": "set verdict to logprob",
    "max_tokens": _LONGEST_REPLY,
    "max_completion_tokens": _LONGEST_REPLY,
    "max_new_tokens": _LONGEST_REPLY,
    "max_output_tokens": _LONGEST_REPLY,
}
"""Fields of a request that other settings decide, with these: what a request says and can cost is known from them."""


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


class _GatedSettings(_Settings):
    """What all judges have in common."""

    gates: GateSettings = GateSettings()
    """What the judge has to show before anything is trained on its verdicts."""
    human_labels: str | None = Field(default=None, min_length=1)
    """A file of people's labels to measure the judge on, a path inside the project."""


class _AskedJudgeSettings(_GatedSettings):
    """What judges that are asked have in common."""

    name: str | None = Field(default=None, min_length=1)
    """The judge's name in tables; by default the model's."""
    template: str = Field(default="pairwise", min_length=1)
    """A packaged template or a `.yaml` file inside the project."""
    protocol: JudgingProtocol = "per_principle"
    repeats: int = Field(default=1, ge=1, le=100)
    """How often each question is asked; the answers are averaged."""
    max_answer_chars: int | None = Field(default=None, ge=1)
    """Longer answers are cut to this many characters, and marked, before the judge sees them; null cuts none."""

    def describe(self) -> dict[str, Any]:
        """The fields that decide what the judge is, says and is called."""
        written = getattr(self, "verdict", "text") == "text"
        unread = () if written else ("temperature", "max_new_tokens", "max_tokens")
        return self.model_dump(mode="json", exclude={*NO_IDENTITY, *unread})


class LocalJudgeSettings(_AskedJudgeSettings):
    """A judge that runs here: any causal language model that transformers opens."""

    provider: Literal["local"]
    model: str = Field(min_length=1)
    """`embedded:judge`, a folder inside the project, or a Hugging Face id such as `org/name`."""
    revision: str | None = None
    """For a Hugging Face id: the full commit hash."""
    verdict: VerdictReading = "logprob"
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    """Of written verdicts; 0 is greedy."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest written verdict, in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: int | None = Field(default=None, ge=1)
    """Longest request in tokens; null for the model's context."""

    @property
    def max_tokens_written(self) -> int:
        """Longest text that it writes, in tokens."""
        return self.max_new_tokens

    @model_validator(mode="after")
    def _refuse_equal_repeats(self) -> Self:
        if self.repeats > 1 and (self.verdict == "logprob" or self.temperature == 0.0):
            raise ValueError(
                f"repeats is {self.repeats}, but this judge says the same each time; "
                "remedy: set repeats to 1, or verdict to text with a temperature above 0"
            )
        return self


class OpenAIJudgeSettings(_AskedJudgeSettings):
    """A judge behind an OpenAI-compatible server: vLLM, Ollama, `transformers serve`, or a cloud API."""

    provider: Literal["openai"]
    model: str = Field(min_length=1)
    """The model's name at the server."""
    revision: str | None = Field(default=None, min_length=1)
    """Any text that names the model's version; change it when the server's model changes."""
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    """The server, up to and with `/v1`; null takes it from the environment variable OPENAI_BASE_URL."""
    api_key_env: str | None = Field(default="OPENAI_API_KEY", min_length=1)
    """The environment variable that holds the key; null for a server that asks for none."""
    verdict: VerdictReading = "text"
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer, in tokens."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls it."""
    extra_body: dict[str, JsonValue] = {}
    """More fields of the request, such as `reasoning_effort`; null leaves one out that is sent otherwise."""
    limits: LimitSettings = LimitSettings()
    price: PriceSettings | None = None

    @property
    def max_tokens_written(self) -> int:
        """Longest text that it writes, in tokens."""
        return self.max_tokens

    @field_validator("base_url")
    @classmethod
    def _refuse_secrets(cls, url: str | None) -> str | None:
        if url is not None and ("@" in url or "?" in url or "#" in url):
            raise ValueError(
                "base_url holds more than an address, and it is recorded; remedy: leave out user, password and "
                "everything from ? on; the key comes from the environment variable that api_key_env names"
            )
        return url

    @field_validator("extra_body")
    @classmethod
    def _keep_what_is_asked(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        taken = sorted(RESERVED_FIELDS.keys() & body)
        if taken:
            raise ValueError(
                f"{taken[0]!r} is not free; remedy: remove it from extra_body; {RESERVED_FIELDS[taken[0]]} "
                "(extra_body is part of the judge: what was answered with this field in it is asked anew)"
            )
        return body

    @model_validator(mode="after")
    def _require_price(self) -> Self:
        if self.limits.budget.cost is not None and self.price is None:
            raise ValueError(
                "limits.budget.cost is given without a price; remedy: give price, or limit calls or tokens"
            )
        return self


class RecordedJudgeSettings(_GatedSettings):
    """Verdicts that exist already, read from a file (see `rlaif_dagster.judging.recorded`)."""

    provider: Literal["recorded"]
    verdicts: str = Field(min_length=1)
    """The verdicts file, a path inside the project."""
    name: str | None = Field(default=None, min_length=1)
    """Which judge's rows to take; needed only when the file holds several judges."""


class PlantedJudgeSettings(_AskedJudgeSettings):
    """A judge with a known preference and known faults: the self-test of everything downstream."""

    provider: Literal["planted"]
    preference: Literal["latent", "longer", "embedded_world"] = "latent"
    """`latent`: a quality drawn for each text from its content; `longer`: the longer text; `embedded_world`: gold."""
    position_bias: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of calls that are answered "first" whatever is shown; among those that do not fail."""
    length_bias: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of calls that are answered with the longer text, whatever is better; among the rest."""
    noise: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of calls that are answered with the worse text; among the rest."""
    failure_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of calls that fail; drawn before all other faults."""
    seed: int = Field(default=0, ge=0)


AskedJudgeSettings = LocalJudgeSettings | OpenAIJudgeSettings | PlantedJudgeSettings
"""A judge that answers new questions."""


class JurySettings(_GatedSettings):
    """Several judges, each asked everything."""

    provider: Literal["jury"]
    judges: list[Annotated[AskedJudgeSettings, Field(discriminator="provider")]] = Field(min_length=2)
    combine: Combine = "mean"
    """`mean` of their probabilities; `majority` of their verdicts; `reliability`: votes weighted by the log-odds that
    a judge is right, estimated from all the judges' verdicts."""

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        names = [name_judge(judge) for judge in self.judges]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two judges are called {repeated[0]!r}; remedy: give each a `name`")
        if any(judge.gates != GateSettings() or judge.human_labels for judge in self.judges):
            raise ValueError(
                "a judge has gates or human_labels of its own; remedy: give them once, for the whole jury"
            )
        if len({judge.protocol for judge in self.judges}) > 1:
            raise ValueError(
                "the judges have different protocols, whose verdicts cannot be combined; "
                "remedy: give all judges the same `protocol`"
            )
        return self


JudgeSettings = Annotated[
    LocalJudgeSettings | OpenAIJudgeSettings | PlantedJudgeSettings | RecordedJudgeSettings | JurySettings,
    Field(discriminator="provider"),
]
"""The settings of any judge; `provider` says which."""


def name_judge(settings: AskedJudgeSettings) -> str:
    """The judge's name in tables."""
    if settings.name is not None:
        return settings.name
    return "planted" if isinstance(settings, PlantedJudgeSettings) else settings.model


def list_members(settings: JudgeSettings) -> tuple[AskedJudgeSettings, ...]:
    """The judges that are asked: those of a jury, the one judge itself, or none for recorded verdicts."""
    if isinstance(settings, JurySettings):
        return tuple(settings.judges)
    return () if isinstance(settings, RecordedJudgeSettings) else (settings,)


def find_protocol(settings: JudgeSettings) -> JudgingProtocol:
    """What a judge, or each judge of a jury, is shown of the constitution; for recorded verdicts by their own rows."""
    members = list_members(settings)
    return members[0].protocol if members else "per_principle"


def find_combine(settings: JudgeSettings) -> Combine:
    """How verdicts of several judges become one."""
    return settings.combine if isinstance(settings, JurySettings) else "mean"
