"""The results of training a policy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.generation.responses import identify_recorded_response
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAnswer:
    """One answer of the policy at a checkpoint.

    Attributes:
        prompt: The training prompt.
        index: The 0-based index of the answer; it has the same seed at every checkpoint.
        text: The answer.
        num_tokens: Its length in tokens.
        finish_reason: How it ended.
        reward: Its score by the reward model.
        kl: Its term of the mean `PolicyCheckpoint.kl_k3`.
    """

    prompt: str
    index: int
    text: str
    num_tokens: int
    finish_reason: FinishReason
    reward: float
    kl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCheckpoint:
    """The policy's own answers to fixed training prompts after a number of steps.

    Attributes:
        step: Number of training steps; 0 is the policy before training.
        mean_reward: The reward model's mean score of the answers.
        kl_k1: KL to the reference policy, nats per response; see `training.kl.KlEstimate`.
        kl_k3: The same, by the estimator with lower variance.
        mean_num_tokens: Mean length of the answers in tokens.
        answers: The answers, at every checkpoint in the same order.
        disagreement: Mean standard deviation of an ensemble's scores of an answer; 0 for a single reward model.
    """

    step: int
    mean_reward: float
    kl_k1: float
    kl_k3: float
    mean_num_tokens: float
    answers: tuple[CheckpointAnswer, ...]
    disagreement: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """An aligned policy.

    Attributes:
        counts: Numbers of rows trained on and left out, by name.
        metrics: Further figures of the method, by name.
        steps: Each step's number from 1, its mean loss and the method's own figures.
        checkpoints: The base policy (step 0), then each checkpoint.
        chosen_step: The checkpoint that was kept; 0 if no checkpoint was chosen.
        stopped: Why training ended before its last step, or None.
    """

    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    steps: tuple[Mapping[str, float], ...]
    checkpoints: tuple[PolicyCheckpoint, ...]
    chosen_step: int
    stopped: str | None


def tabulate_checkpoints(
    checkpoints: Iterable[PolicyCheckpoint], prompt_ids: Mapping[str, str]
) -> Iterator[Row]:
    """Yields the rows of the table of answers at checkpoints, by step, prompt and index.

    Args:
        checkpoints: The checkpoints, by step.
        prompt_ids: The id of each prompt.
    """
    for checkpoint in checkpoints:
        for answer in sorted(checkpoint.answers, key=lambda one: (prompt_ids[one.prompt], one.index)):
            prompt_id = prompt_ids[answer.prompt]
            told = asdict(answer)
            del told["prompt"]  # prompts may be private, and a policy is published
            yield {
                "step": checkpoint.step,
                "prompt_id": prompt_id,
                "response_id": identify_recorded_response(
                    prompt_id=prompt_id, source="checkpoint", text=answer.text
                ),
                **told,
            }


def checkpoints_schema() -> "pa.Schema":
    """The columns of the table of answers at checkpoints; equal answers to a prompt have one `response_id`."""
    import pyarrow as pa

    columns = {
        "step": pa.int64(),
        "prompt_id": pa.string(),
        "index": pa.int64(),
        "response_id": pa.string(),
        "text": pa.string(),
        "num_tokens": pa.int64(),
        "finish_reason": pa.string(),
        "reward": pa.float64(),
        "kl": pa.float64(),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
