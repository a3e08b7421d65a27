"""Samples responses from a policy: batched by length, seeded by content; reuses known ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rlaif_dagster.errors import ModelError
from rlaif_dagster.generation.dialogues import Completion, encode_prompt
from rlaif_dagster.generation.finish import find_finish_reason
from rlaif_dagster.generation.responses import ResponseKey
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlaif_dagster.generation.journal import Keep


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingResult:
    """Rows of the `sampled_responses` table, sorted by prompt and index.

    Attributes:
        rows: The sampled and reused responses.
        num_sampled: How many were sampled now.
        num_reused: How many were reused.
        failed: Rows of responses that a policy's server did not return, with `status` and `reason`.
    """

    rows: tuple[Row, ...]
    num_sampled: int
    num_reused: int
    failed: tuple[Row, ...] = ()

    def require_all(self) -> Self:
        """Returns this result if no response failed.

        Raises:
            ModelError: If a response failed.
        """
        if self.failed:
            raise ModelError(
                f"the policy's server gave no response to {len(self.failed)} of {len(self.rows) + len(self.failed)} "
                f"requests, the first to the prompt {self.failed[0]['prompt_id']}: {self.failed[0]['reason']}.\n"
                "  remedy: read the server's message, and check sampling in inputs/pipeline.yaml; then run again: "
                "sampled responses are kept"
            )
        return self


def sample_responses(
    model_path: Path,
    prompts: Iterable[Row],
    settings: PolicySampling,
    *,
    root_seed: int,
    policy_digest: str,
    device: "torch.device",
    batch_size: int = 64,
    known: Mapping[str, Row] | None = None,
    keep: "Keep" = lambda rows: None,
    progress: Progress = ignore_progress,
) -> SamplingResult:
    """Samples `num_samples` responses per prompt; opens the model only if one of them is not known.

    Args:
        model_path: The policy's folder.
        prompts: Rows with `prompt_id` and `prompt`.
        settings: How to sample.
        root_seed: The project's seed; each response derives its own from its key.
        policy_digest: The policy's identity: part of each key, and the rows' `source`.
        device: Where the policy runs.
        batch_size: Responses decoded at once; it changes no text (see `generation.decoding`).
        known: Rows of earlier runs by `response_id`; their text is reused.
        keep: Called with new rows as they arrive, to store them in case this run is killed.
        progress: Called with the number of sampled responses.

    Raises:
        ModelError: If the policy cannot be opened, has no chat template, or its context is too short for a prompt.
    """
    keys = [
        (
            str(prompt["prompt_id"]),
            ResponseKey(
                prompt=prompt["prompt"],
                policy=policy_digest,
                settings=settings,
                root_seed=root_seed,
                index=index,
            ),
        )
        for prompt in prompts
        for index in range(settings.num_samples)
    ]
    rows: dict[str, Row] = {}
    failed: list[Row] = []
    missing: list[tuple[str, ResponseKey]] = []
    for prompt_id, key in keys:
        row = (known or {}).get(key.response_id)
        if row is None:
            missing.append((prompt_id, key))
        else:
            rows[key.response_id] = {
                **row,
                "prompt_id": prompt_id,
                "source": policy_digest,
                "index": key.index,
            }
    batches = (
        settings.complete(
            model_path,
            [key.prompt for _, key in missing],
            seeds=[key.seed for _, key in missing],
            device=device,
            batch_size=batch_size,
        )
        if missing
        else ()
    )
    for completions in batches:
        sampled: list[Row] = []
        for place, completion in completions.items():
            prompt_id, key = missing[place]
            identity = {
                "response_id": key.response_id,
                "prompt_id": prompt_id,
                "source": policy_digest,
                "index": key.index,
                "seed": key.seed,
            }
            if isinstance(completion, Completion):
                written = {"text": completion.text, "num_tokens": completion.num_tokens}
                sampled.append({**identity, **written, "finish_reason": completion.finish_reason})
            else:
                failed.append({**identity, "status": completion.kind, "reason": completion.reason})
        keep(sampled)
        rows.update({row["response_id"]: row for row in sampled})
        num_known = len(keys) - len(missing)
        progress("responses", len(rows) + len(failed) - num_known, len(missing))
    num_sampled = len(missing) - len(failed)
    return SamplingResult(
        rows=_sort(rows.values()),
        num_sampled=num_sampled,
        num_reused=len(rows) - num_sampled,
        failed=_sort(failed),
    )


def _sort(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: (row["prompt_id"], row["index"])))


def complete_prompts(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: PolicySampling,
    batch_size: int,
    progress: Progress = ignore_progress,
) -> list[Completion]:
    """Answers each prompt once, in order; see `complete_batches`. Reports the number of responses."""
    completions: dict[int, Completion] = {}
    for batch in complete_batches(
        model, tokenizer, prompts, seeds=seeds, settings=settings, batch_size=batch_size
    ):
        completions.update(batch)
        progress("responses", len(completions), len(prompts))
    return [completions[i] for i in range(len(prompts))]


def complete_batches(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: PolicySampling,
    batch_size: int,
) -> Iterator[Mapping[int, Completion]]:
    """Answers each prompt once, with its own seed; `settings.num_samples` is ignored.

    Args:
        model: A causal language model on its device, in evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        prompts: The users' texts.
        seeds: One per prompt.
        settings: Temperature, top-p and the largest number of new tokens.
        batch_size: Prompts decoded at once, of similar length.

    Yields:
        The completions of one batch by the indices of their prompts.

    Raises:
        ModelError: If there is no chat template, or a prompt does not fit the context.
    """
    from rlaif_dagster.decoding import decode, end_tokens

    encoded = {prompt: encode_prompt(tokenizer, prompt) for prompt in set(prompts)}
    _require_room(model, encoded, settings)
    ends = frozenset(end_tokens(model, tokenizer))
    order = sorted(range(len(prompts)), key=lambda i: (len(encoded[prompts[i]]), prompts[i], seeds[i]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        answers = decode(
            model,
            tokenizer,
            [encoded[prompts[i]] for i in batch],
            [seeds[i] for i in batch],
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
        )
        yield {
            i: Completion(
                text=str(tokenizer.decode(token_ids, skip_special_tokens=True)),
                num_tokens=len(token_ids),
                token_ids=tuple(token_ids),
                finish_reason=find_finish_reason(token_ids, ends),
            )
            for i, token_ids in zip(batch, answers, strict=True)
        }


def _require_room(
    model: "PreTrainedModel", encoded: Mapping[str, Sequence[int]], settings: PolicySampling
) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for prompt, token_ids in sorted(encoded.items()):
        if context is not None and len(token_ids) + settings.max_new_tokens > context:
            raise ModelError(
                f"the prompt {prompt[:60]!r} has {len(token_ids)} tokens; with {settings.max_new_tokens} new tokens "
                f"this exceeds the policy's context of {context}.\n"
                "  remedy: shorten the prompt, lower `max_new_tokens`, or use a policy with a longer context"
            )
