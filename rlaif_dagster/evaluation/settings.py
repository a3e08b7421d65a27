"""Settings of the evaluation, spelled as in the `evaluation` section of `inputs/pipeline.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.judging.settings import AskedJudge, GateSettings


class EvaluationSettings(BaseModel):
    """How held-out answers are sampled, scored and shown."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    num_samples: Annotated[int, Field(ge=1)] = 1
    """Answers from each policy per held-out prompt; each pair of answers is one comparison."""
    temperature: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature of both policies; 0 is greedy decoding."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest answer, in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the policies and the reward model while they are measured."""
    gold: Literal["embedded_world"] | None = None
    """Ground truth to score with beside the judge; null when there is none, as with real prompts."""
    judge: AskedJudge | None = None
    """An independent judge, which labelled no training data, beside the one in judge.yaml; null for none."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence of every interval."""
    num_examples: Annotated[int, Field(ge=0, le=200)] = 12
    """Comparisons shown side by side in the report."""
    unsafe_categories: list[str] = []
    """Categories of prompts that ask for harm: refusing them is right, and refusing others is not."""
    no_regression: list[str] = []
    """Categories and principles in which the aligned policy may not be worse: it is not released then."""
    best_of: Annotated[int | None, Field(ge=2, le=256)] = None
    """Further answers of the base policy to each held-out prompt, among which the reward model chooses for the curve of
    over-optimisation; null traces none."""
    judge_checkpoints: bool = False
    """Whether a judge, the independent one if there is one, compares the answers at the checkpoints of training with
    those of step 0; gold does so in any case."""

    @model_validator(mode="after")
    def _refuse_gates(self) -> Self:
        if self.judge is not None and (self.judge.gates != GateSettings() or self.judge.human_labels):
            raise ValueError(
                "judge has gates or human_labels, which are for the judge that labels training data; "
                "remedy: remove them"
            )
        return self

    @model_validator(mode="after")
    def _refuse_repeated_greedy_answers(self) -> Self:
        if self.temperature == 0.0 and self.num_samples > 1:
            raise ValueError(
                f"num_samples is {self.num_samples} with temperature 0, so all are the same answer; "
                "remedy: set num_samples to 1, or temperature above 0"
            )
        if self.temperature == 0.0 and self.best_of is not None:
            raise ValueError(
                f"best_of is {self.best_of} with temperature 0, so all are the same answer; "
                "remedy: set best_of to null, or temperature above 0"
            )
        return self
