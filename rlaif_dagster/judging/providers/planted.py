"""A judge with known preference and known faults, to test the code that has to find them.

A call goes through the faults in this order, each with its own random draw from the call's id: it fails; it is answered
"first" regardless of the texts; it is answered with the longer text; it is answered with the worse text. Otherwise it
is answered with the better text. So each rate is the share among the calls that passed the faults before it.

The answer is text in the words of the template, as a model would write it, and is read by the parser that reads models.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final, Literal

from pydantic import Field

from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.settings import AskedJudgeSettings, Opening
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.seeds import SEED_BITS, derive_seed

_OTHER: Final[Mapping[str, Literal["first", "second"]]] = {"first": "second", "second": "first"}


class PlantedJudgeSettings(AskedJudgeSettings):
    """A judge with a known preference and known faults: the self-test of everything downstream."""

    is_final: ClassVar[bool] = True
    is_free: ClassVar[bool] = True

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

    def check_template(self, template: Template) -> None:
        """Accepts only a template that shows two answers: if one is rated, there is no first and second."""
        if template.form != "comparison":
            raise ValueError(
                "a planted judge compares two answers, but the template rates one; "
                "remedy: name a template with `verdicts`, such as pairwise"
            )

    def open_judge(self, opening: Opening) -> "PlantedJudge":
        """Opens the judge."""
        return PlantedJudge(self, opening.template)


class PlantedJudge:
    """A `Judge` that needs only its settings."""

    def __init__(self, settings: PlantedJudgeSettings, template: Template) -> None:
        """Makes the judge.

        Raises:
            ValueError: If the template rates answers one at a time.
        """
        settings.check_template(template)
        self._settings = settings
        self._template = template

    def ask(self, calls: Iterable[Call]) -> Iterator[tuple[Reply]]:
        """Yields one answer for each call, in their order."""
        for call in calls:
            yield (self._answer(call),)

    def _answer(self, call: Call) -> Reply:
        if self._draw(call, "failure") < self._settings.failure_rate:
            return Reply(call_id=call.call_id, status="failed", reason="planted failure")
        word = self._template.verdicts[self._choose(call)]
        line = self._template.verdict_line
        return Reply(call_id=call.call_id, status="ok", text=word if line is None else f"{line} {word}")

    def _choose(self, call: Call) -> Literal["first", "second"]:
        settings, texts = self._settings, call.texts
        if self._draw(call, "position") < settings.position_bias:
            return "first"
        first, second = texts["first"], texts["second"]
        if self._draw(call, "length") < settings.length_bias and len(first) != len(second):
            return "first" if len(first) > len(second) else "second"
        better: Literal["first", "second"] = "first" if self.prefers_first(texts) else "second"
        return _OTHER[better] if self._draw(call, "noise") < settings.noise else better

    def prefers_first(self, texts: Mapping[str, str]) -> bool:
        """Says whether the first text is the better one; ties of the preference are decided by the latent quality.

        Args:
            texts: `principle`, `prompt`, `first` and `second`.
        """
        first, second = texts["first"], texts["second"]
        gap = 0.0
        match self._settings.preference:
            case "longer":
                gap = len(first) - len(second)
            case "embedded_world":
                from rlaif_dagster.world.ground_truth import ground_truth_preference

                ground_truth = ground_truth_preference(
                    [(texts["principle"], 1.0)], texts["prompt"], first, second
                )
                gap = 0.0 if ground_truth is None else ground_truth - 0.5
            case "latent":
                pass
        return gap > 0 if gap else self._rate(texts, first) > self._rate(texts, second)

    def _rate(self, texts: Mapping[str, str], text: str) -> float:
        """Computes the latent quality of a text under a principle, in [0, 1)."""
        return derive_seed(self._settings.seed, "quality", texts["principle"], text) / 2.0**SEED_BITS

    def _draw(self, call: Call, fault: str) -> float:
        """Draws a number in [0, 1) for one fault of one call."""
        return derive_seed(self._settings.seed, fault, call.call_id) / 2.0**SEED_BITS
