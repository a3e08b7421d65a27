"""Settings of responses that all samplers share. Each sampler is a module of `generation.samplers`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlaif_dagster.digest import JsonValue

if TYPE_CHECKING:
    import torch

    from rlaif_dagster.generation.dialogues import Completion
    from rlaif_dagster.serving.calls import ChatFailure


class ResponsesSettings(BaseModel):
    """How responses are obtained; `provider` names the sampler."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    provider: str

    @property
    def recorded_file(self) -> str | None:
        """The file with the responses, inside the project; None if a policy is sampled."""
        return None


class PolicySampling(ResponsesSettings, ABC):
    """Sampling from the project's own policy."""

    num_samples: int = Field(default=4, ge=1)
    """Responses per prompt. If it is raised, existing responses are kept."""
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Divides the logits; 0 always takes the most likely token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling (Holtzman et al. 2020): the smallest set of tokens with this probability is kept."""
    max_new_tokens: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _refuse_repeated_greedy_answers(self) -> Self:
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"num_samples is {self.num_samples} with temperature 0, so all answers are the same; "
                "remedy: set num_samples to 1, or temperature above 0"
            )
        return self

    @property
    def server(self) -> tuple[str, ...] | None:
        """The command of a server that samples a policy's folder; None if there is no server."""
        return None

    @abstractmethod
    def key(self) -> JsonValue:
        """The settings that decide a single response; `num_samples` does not."""

    @abstractmethod
    def complete(
        self,
        model_path: Path,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        device: "torch.device",
        batch_size: int,
    ) -> "Iterator[Mapping[int, Completion | ChatFailure]]":
        """Answers each prompt once, with its own seed.

        Args:
            model_path: The policy's folder.
            prompts: The users' texts, at least one.
            seeds: One per prompt.
            device: Where the policy runs.
            batch_size: Prompts answered at once.

        Yields:
            The completions of one batch by the indices of their prompts.

        Raises:
            ModelError: If the policy cannot be opened or served, or its context is too short for a prompt.
        """
