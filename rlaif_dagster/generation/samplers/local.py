"""Samples responses from the project's policy: in this process, or through a server that is started for it.

torch and transformers are imported inside the functions.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from pydantic import field_validator

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.generation.settings import PolicySampling

if TYPE_CHECKING:
    import torch

    from rlaif_dagster.generation.dialogues import Completion
    from rlaif_dagster.serving.calls import ChatFailure


class LocalSamplingSettings(PolicySampling):
    """Sampling from the project's own policy."""

    provider: Literal["local"] = "local"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision of the policy while it samples; a server has its own options."""
    server_command: tuple[str, ...] | None = None
    """A program such as vLLM that serves the folder `{model}` at `{port}` of `{host}` with an OpenAI-compatible API.
    It is started for sampling, and ended after it. Null samples in this process."""

    @field_validator("server_command", mode="before")
    @classmethod
    def _take_list(cls, command: object) -> object:
        return tuple(command) if isinstance(command, list) else command

    @field_validator("server_command")
    @classmethod
    def _require_places(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        words = " ".join(command) if command is not None else "{model} {port}"
        missing = [place for place in ("{model}", "{port}") if place not in words]
        if missing:
            raise ValueError(
                f"the command lacks {missing[0]}; remedy: write the command as in "
                '["vllm", "serve", "{model}", "--host", "{host}", "--port", "{port}"]'
            )
        return command

    @property
    def server(self) -> tuple[str, ...] | None:
        """The command of a server that samples a policy's folder; None if there is no server."""
        return self.server_command

    def key(self) -> JsonValue:
        """The settings that decide a single response; `num_samples` does not."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            **(
                {"dtype": self.dtype}
                if self.server_command is None
                else {"server": list(self.server_command)}
            ),
        }

    def complete(
        self,
        model_path: Path,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        device: "torch.device",
        batch_size: int,
    ) -> "Iterator[Mapping[int, Completion | ChatFailure]]":
        """Answers each prompt once, with its own seed; see `PolicySampling.complete`."""
        from rlaif_dagster.generation.sampling import complete_batches
        from rlaif_dagster.generation.served import complete_by_server
        from rlaif_dagster.models import open_causal_lm

        if self.server_command is not None:
            yield from complete_by_server(
                self.server_command, model_path, prompts, seeds=seeds, settings=self, concurrency=batch_size
            )
            return
        model, tokenizer = open_causal_lm(model_path, dtype=self.dtype)
        cast("torch.nn.Module", model).to(device)
        yield from complete_batches(
            model, tokenizer, prompts, seeds=seeds, settings=self, batch_size=batch_size
        )


SETTINGS: Final = LocalSamplingSettings
