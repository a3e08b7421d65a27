"""The identity of a judge, known without opening it."""

from dataclasses import dataclass

from rlaif_dagster.digest import Digest
from rlaif_dagster.judging.settings import AskedJudgeSettings, JudgingProtocol, VerdictReading, name_judge
from rlaif_dagster.judging.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeProfile:
    """The identity of a judge; made without opening its model.

    Attributes:
        name: The name in the `judge` column.
        fingerprint: Covers everything besides the texts that affects an answer: model, decoding and prompt.
        template: The judge's prompt.
        protocol: Which part of the constitution it is shown.
        repeats: How often it is asked each question.
        reading: How its answers are read.
        is_final: If True, asking again would give the same answer without a verdict.
        is_local: Whether its model runs here, so that code and libraries also affect its answers.
    """

    name: str
    fingerprint: Digest
    template: Template
    protocol: JudgingProtocol
    repeats: int
    reading: VerdictReading
    is_final: bool
    is_local: bool

    @classmethod
    def from_settings(
        cls, settings: AskedJudgeSettings, template: Template, *, model: Digest | None
    ) -> "JudgeProfile":
        """Makes the profile of a judge.

        Args:
            settings: Its settings.
            template: Its prompt.
            model: The content digest of the model folder if the judge runs a model here, else None.
        """
        described = settings.describe()
        for elsewhere in ("name", "template", "protocol", "repeats"):
            del described[elsewhere]
        if model is not None:
            described = {**described, "model": str(model), "revision": None}
        return cls(
            name=name_judge(settings),
            fingerprint=Digest.from_json({"judge": described, "template": str(template.digest)}),
            template=template,
            protocol=settings.protocol,
            repeats=settings.repeats,
            reading=settings.reading,
            is_final=settings.is_final,
            is_local=settings.named_model is not None,
        )
