"""The decoding loop: one seed per response; finished responses leave the batch. Needs torch: import it lazily.

It runs inside transformers' `generate` (as its `custom_generate`), which prepares the mask and the temperature
and top-p warpers, and differs from `generate`'s own loop in two points:

- A token is drawn by inverse transform sampling from one uniform number, which belongs to (response, step), so other
  responses in the batch change nothing. The warped probabilities are converted to integers in units of 2**-40, whose
  running sums are exact: the draw is deterministic on every device, and tokens below 2**-40 are never drawn.
- A finished response leaves the batch at once, instead of being padded until the longest one ends.

Known trade-off (accepted): the logits themselves depend on padding and batch size at rounding level. In
float32 that changes a token with a probability near 1e-6; in bfloat16 texts may differ between batch sizes.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PROBABILITY_UNITS = 2**40


def draw_uniforms(seeds: Sequence[int], num_steps: int) -> torch.Tensor:
    """Draws the numbers that decide every token, shape `(response, step)`, float64 in [0, 1)."""
    rows = [
        torch.rand(num_steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows)


def choose_tokens(scores: torch.Tensor, uniforms: torch.Tensor | None) -> torch.Tensor:
    """Draws one token per row by inverse transform sampling (Devroye 1986, chapter III.2).

    Args:
        scores: Warped logits, shape `(batch, vocab)`.
        uniforms: One number in [0, 1) per row, float64; None takes the most likely token.

    Returns:
        Token ids, shape `(batch,)`.
    """
    if uniforms is None:
        return scores.argmax(dim=-1)
    device = scores.device if scores.device.type != "mps" else torch.device("cpu")  # mps has no float64
    mass = (scores.float().softmax(dim=-1).to(device, torch.float64) * _PROBABILITY_UNITS).long()
    cumulative = mass.cumsum(dim=-1)
    targets = (uniforms.to(device) * cumulative[:, -1]).long()
    tokens = torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]
    return tokens.to(scores.device)


def decode(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int,
) -> list[list[int]]:
    """Continues prompts with a policy.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer.
        prompts: Token ids, one list per response; each at least one token.
        seeds: One seed per response.
        temperature: Divides the logits; 0 always takes the most likely token.
        top_p: The smallest set of tokens with this probability is kept (Holtzman et al. 2020).
        max_new_tokens: The largest number of new tokens.

    Returns:
        The new token ids of each response, with the end-of-turn token if the policy wrote one.
    """
    config = _plain_config(
        model, tokenizer, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
    )
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(prompts), width), config.pad_token_id)
    attention_mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
        attention_mask[row, width - len(prompt) :] = 1
    uniforms = draw_uniforms(seeds, max_new_tokens) if temperature > 0 else None
    own_config = model.generation_config
    # `generate` fills missing values from the model's own config, which may have penalties or a top-k.
    model.generation_config = GenerationConfig()
    try:
        with torch.inference_mode():
            tokens: torch.Tensor = cast("Any", model).generate(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                generation_config=config,
                custom_generate=_decode_batch,
                uniforms=uniforms,
            )
    finally:
        model.generation_config = own_config
    return [[token for token in row if token >= 0] for row in tokens.tolist()]


def end_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Finds the tokens that end a response: those of the model's generation config, else the tokenizer's."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    ends = own if own is not None else tokenizer.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _plain_config(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
) -> GenerationConfig:
    ends = end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends[0] if ends else 0)
    warpers: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        warpers = {
            "do_sample": True,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": 0,
        }
    return GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=ends or None, pad_token_id=pad, **warpers
    )


def _name_cache(model: "PreTrainedModel") -> str:
    """Finds the model's name for its cache, as an argument and in its output: `cache` since transformers 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _decode_batch(
    model: "PreTrainedModel",
    input_ids: torch.Tensor,
    *,
    logits_processor: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    generation_config: GenerationConfig,
    uniforms: torch.Tensor | None,
    **model_kwargs: Any,
) -> torch.Tensor:
    """Decodes a left-padded batch; called by `generate`.

    Args:
        model: The policy.
        input_ids: Prompts, shape `(batch, prompt)`.
        logits_processor: Temperature and top-p.
        generation_config: Prepared by `generate`.
        uniforms: Shape `(batch, step)`, or None for greedy decoding.
        model_kwargs: What `generate` prepared for the model's forward pass. Only the mask is used: the rest changes
            between releases of transformers.

    Returns:
        New tokens, shape `(batch, step)`, -1 after the end of a response.
    """
    cache_name = _name_cache(model)
    cache: Any = None  # the model makes it in the first step
    attention_mask = model_kwargs.get("attention_mask")
    if attention_mask is None:  # `generate` leaves it out if nothing is padded
        attention_mask = torch.ones_like(input_ids)
    positions = (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)
    ends = torch.tensor(generation_config.eos_token_id or [], device=input_ids.device)
    rows = torch.arange(len(input_ids))  # the row in the batch of each running response
    new_tokens = torch.full((len(rows), generation_config.max_new_tokens), -1)
    step_ids = input_ids
    for step in range(generation_config.max_new_tokens):
        output: Any = model(
            input_ids=step_ids,
            attention_mask=attention_mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{cache_name: cache},
        )
        cache = getattr(output, cache_name)
        scores = logits_processor(input_ids, output.logits[:, -1].float())
        tokens = choose_tokens(scores, None if uniforms is None else uniforms[rows, step])
        new_tokens[rows, step] = tokens.cpu()
        running = (~torch.isin(tokens, ends)).nonzero()[:, 0]
        if len(running) == 0:
            break
        if len(running) < len(tokens):
            cache.batch_select_indices(running)
            attention_mask, positions, tokens = attention_mask[running], positions[running], tokens[running]
            input_ids, rows = input_ids[running], rows[running.cpu()]
        step_ids = tokens[:, None]
        input_ids = torch.cat([input_ids, step_ids], dim=-1)
        positions = positions[:, -1:] + 1
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(tokens), 1)], dim=-1)
    return new_tokens
