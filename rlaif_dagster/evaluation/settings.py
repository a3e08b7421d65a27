"""Settings of the evaluation, spelled as in the `evaluation` section of `inputs/pipeline.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.judging.settings import AskedJudge, GateSettings


class EvaluationSettings(BaseModel):
    """How held-out answers are sampled, scored and shown."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    num_samples: Annotated[int, Field(ge=1)] = 1
    """Answers from each policy to each held-out prompt; each pair of answers is one comparison."""
    temperature: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature of both policies; 0 is greedy decoding."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """The longest answer, in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The precision of the policies and the reward model in the evaluation."""
    ground_truth: Literal["embedded_world"] | None = None
    """The ground truth that scores answers beside the judge; null if there is none, as for real prompts."""
    judge: AskedJudge | None = None
    """An independent judge, which has labelled no training data, beside the one in judge.yaml; null for none."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """The confidence of every interval."""
    num_examples: Annotated[int, Field(ge=0, le=200)] = 12
    """How many comparisons the report shows side by side."""
    unsafe_categories: list[str] = []
    """Categories of prompts that ask for harm: refusing them is right, and refusing others is not."""
    no_regression: list[str] = []
    """Categories and principles in which the aligned policy must not be worse; if it is, it is not released."""
    best_of: Annotated[int | None, Field(ge=2, le=256)] = None
    """How many further answers of the base policy to each held-out prompt are sampled for the curve of
    over-optimisation, from which the reward model chooses; null draws no curve."""
    judge_checkpoints: bool = False
    """Whether a judge, the independent one if there is one, compares the answers at training checkpoints with those of
    step 0; the ground truth always does."""

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
                f"num_samples is {self.num_samples} with temperature 0, so all answers are the same; "
                "remedy: set num_samples to 1, or temperature above 0"
            )
        if self.temperature == 0.0 and self.best_of is not None:
            raise ValueError(
                f"best_of is {self.best_of} with temperature 0, so all answers are the same; "
                "remedy: set best_of to null, or temperature above 0"
            )
        return self
