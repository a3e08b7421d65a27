"""Settings of the judge, spelled as in `inputs/judge.yaml`."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from rlaif_dagster.serving.settings import LimitSettings, PriceSettings

JudgingProtocol = Literal["per_principle", "joint", "one_principle"]
"""One principle at a time; the whole constitution at once; or one principle drawn for each pair."""
VerdictReading = Literal["logprob", "text"]
"""Verdicts from the next-token probabilities of the verdict words, or from what the judge writes."""
Combine = Literal["mean", "majority", "reliability"]
"""How a jury's verdicts are combined; see `rlaif_dagster.judging.jury`."""

NO_IDENTITY: Final = ("api_key_env", "max_tokens_name", "limits", "price", "gates", "human_labels")
"""Fields that say where, how fast, at what price and with which gates a judge is asked, but not what it is."""
_LONGEST_REPLY: Final = "set max_tokens, and max_tokens_name if the server uses another name"
RESERVED_FIELDS: Final = {
    "model": "set model",
    "messages": "set template",
    "stream": "remove it: replies are not streamed",
    "n": "set repeats",
    "best_of": "set repeats",
    "logprobs": "set verdict to logprob",
    "max_tokens": _LONGEST_REPLY,
    "max_completion_tokens": _LONGEST_REPLY,
    "max_new_tokens": _LONGEST_REPLY,
    "max_output_tokens": _LONGEST_REPLY,
}
"""Fields of a request that other settings decide, with these settings: they fix a request's content and cost."""


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
    min_gold_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of labels that agree with `evaluation.gold`, in each order, on pairs where it prefers an answer."""
    min_human_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of labels that agree with the human labels."""
    beats_longer_wins: bool = False
    """If true, labels must agree with the ground truth (or else people) more often than the longer answer does."""
    max_injection_success: float | None = Field(default=None, ge=0.0, le=1.0)
    """The share of attacks inside an answer that make the judge prefer the worse answer."""
    stronger_than_policy: bool = False
    """If true, labels must agree with the ground truth (or else people) more often than the base policy's choices."""
    canary: CanarySettings = CanarySettings()


class _GatedSettings(_Settings):
    """The settings that all judges have in common."""

    gates: GateSettings = GateSettings()
    """The thresholds that the judge must meet before anything is trained on its verdicts."""
    human_labels: str | None = Field(default=None, min_length=1)
    """A file of people's labels, on which the judge is measured; a path inside the project."""


class _AskedJudgeSettings(_GatedSettings):
    """The settings that all judges have in common that are asked."""

    name: str | None = Field(default=None, min_length=1)
    """The judge's name in tables; default: the model's name."""
    template: str = Field(default="pairwise", min_length=1)
    """A packaged template or a `.yaml` file inside the project."""
    protocol: JudgingProtocol = "per_principle"
    repeats: int = Field(default=1, ge=1, le=100)
    """How often each question is asked; the answers are averaged."""
    max_answer_chars: int | None = Field(default=None, ge=1)
    """Longer answers are cut to this many characters, and marked, before the judge sees them; null cuts none."""

    def describe(self) -> dict[str, Any]:
        """Describes the fields that decide what the judge is, what it answers and its name."""
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
    """The sampling temperature of written verdicts; 0 is greedy."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The longest written verdict, in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: int | None = Field(default=None, ge=1)
    """The longest request, in tokens; null uses the model's context."""

    @property
    def max_tokens_written(self) -> int:
        """The longest text that it writes, in tokens."""
        return self.max_new_tokens

    @model_validator(mode="after")
    def _refuse_equal_repeats(self) -> Self:
        if self.repeats > 1 and (self.verdict == "logprob" or self.temperature == 0.0):
            raise ValueError(
                f"repeats is {self.repeats}, but this judge answers the same each time; "
                "remedy: set repeats to 1, or verdict to text with a temperature above 0"
            )
        return self


class OpenAIJudgeSettings(_AskedJudgeSettings):
    """A judge behind an OpenAI-compatible server: vLLM, Ollama, `transformers serve`, or a cloud API."""

    provider: Literal["openai"]
    model: str = Field(min_length=1)
    """The model's name on the server."""
    revision: str | None = Field(default=None, min_length=1)
    """Any text that names the model's version; change it when the server's model changes."""
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    """The server's address, up to and including `/v1`; null takes it from the environment variable OPENAI_BASE_URL."""
    api_key_env: str | None = Field(default="OPENAI_API_KEY", min_length=1)
    """The environment variable with the key; null for a server without a key."""
    verdict: VerdictReading = "text"
    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    max_tokens: int = Field(default=1024, ge=1)
    """The longest answer, in tokens."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The server's name for `max_tokens`."""
    extra_body: dict[str, JsonValue] = {}
    """Further fields of the request, such as `reasoning_effort`; a field set to null is not sent."""
    limits: LimitSettings = LimitSettings()
    price: PriceSettings | None = None

    @property
    def max_tokens_written(self) -> int:
        """The longest text that it writes, in tokens."""
        return self.max_tokens

    @field_validator("base_url")
    @classmethod
    def _refuse_secrets(cls, url: str | None) -> str | None:
        if url is not None and ("@" in url or "?" in url or "#" in url):
            raise ValueError(
                "base_url is recorded, but has more than an address; remedy: remove user, password and "
                "everything after ?; the key comes from the environment variable that api_key_env names"
            )
        return url

    @field_validator("extra_body")
    @classmethod
    def _keep_what_is_asked(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        taken = sorted(RESERVED_FIELDS.keys() & body)
        if taken:
            raise ValueError(
                f"{taken[0]!r} is set by another field; remedy: remove it from extra_body; {RESERVED_FIELDS[taken[0]]} "
                "(extra_body is part of the judge's identity, so its questions are asked again)"
            )
        return body

    @model_validator(mode="after")
    def _require_price(self) -> Self:
        if self.limits.budget.cost is not None and self.price is None:
            raise ValueError(
                "limits.budget.cost is set without a price; remedy: set price, or limit calls or tokens"
            )
        return self


class RecordedJudgeSettings(_GatedSettings):
    """Verdicts that exist already, read from a file (see `rlaif_dagster.judging.recorded`)."""

    provider: Literal["recorded"]
    verdicts: str = Field(min_length=1)
    """The verdicts file, a path inside the project."""
    name: str | None = Field(default=None, min_length=1)
    """Which judge's rows to read; needed only if the file has several judges."""


class PlantedJudgeSettings(_AskedJudgeSettings):
    """A judge with a known preference and known faults: the self-test of everything downstream."""

    provider: Literal["planted"]
    preference: Literal["latent", "longer", "embedded_world"] = "latent"
    """`latent`: a quality drawn from each text's content; `longer`: the longer text; `embedded_world`: ground truth."""
    position_bias: float = Field(default=0.0, ge=0.0, le=1.0)
    """The share of calls answered "first" regardless of the texts, among those that do not fail."""
    length_bias: float = Field(default=0.0, ge=0.0, le=1.0)
    """The share of calls answered with the longer text, even if it is worse, among the remaining calls."""
    noise: float = Field(default=0.0, ge=0.0, le=1.0)
    """The share of calls answered with the worse text, among the remaining calls."""
    failure_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """The share of calls that fail; drawn before all other faults."""
    seed: int = Field(default=0, ge=0)


AskedJudgeSettings = LocalJudgeSettings | OpenAIJudgeSettings | PlantedJudgeSettings
"""A judge that answers new questions."""


class JurySettings(_GatedSettings):
    """Several judges, each asked every question."""

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
    """Lists the judges that are asked: those of a jury, the one judge, or none for recorded verdicts."""
    if isinstance(settings, JurySettings):
        return tuple(settings.judges)
    return () if isinstance(settings, RecordedJudgeSettings) else (settings,)


def find_protocol(settings: JudgeSettings) -> JudgingProtocol:
    """Finds how a judge, or each judge of a jury, is shown the constitution; recorded verdicts say it in their rows."""
    members = list_members(settings)
    return members[0].protocol if members else "per_principle"


def find_combine(settings: JudgeSettings) -> Combine:
    """Finds how verdicts of several judges are combined."""
    return settings.combine if isinstance(settings, JurySettings) else "mean"
