"""Sampling from the embedded policy: tokens a second over those of a plain `model.generate` loop.

    python -m benchmarks.sampling [--prompts 60] [--num-samples 8] [--batch-size 64] [--repeats 5] [--top-p 1.0]

Both answer the same prompts of the embedded world as often, with the same batch size, temperature and longest answer,
and both tokenise and decode. The plain loop takes requests as they come, pads each batch on the left with an attention
mask, and lets `generate` draw. Answers have ragged lengths, since the policy ends them itself. The two take turns in
one process with one thread, and processor time is counted, so that a busy machine matters less; a token is one up to
and with the end of its answer, never padding. Prints both speeds, their ratio and its spread, and whether our answers
are the same with a batch size of 7.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rlaif_dagster.embedded.corpus import list_unseen_questions, open_random
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.models import embedded_path, open_causal_lm
from rlaif_dagster.numerics import prepare_torch
from rlaif_dagster.world import lexicon
from rlaif_dagster.world.questions import CATEGORIES, compose_prompt


def draw_prompts(num_prompts: int, num_samples: int) -> list[str]:
    """Draws prompts of the world, each as often as it is to be answered."""
    rng = open_random(0, "benchmark", "sampling")
    prompts = [
        compose_prompt(
            rng.choice(lexicon.OPENINGS), rng.choice(list_unseen_questions(rng.choice(CATEGORIES)))
        )
        for _ in range(num_prompts)
    ]
    return [prompt for prompt in prompts for _ in range(num_samples)]


def sample_plainly(
    model: Any, tokenizer: Any, prompts: Sequence[str], settings: LocalSamplingSettings, batch_size: int
) -> list[int]:
    """The plain loop; the number of tokens of each answer."""
    import torch

    torch.manual_seed(0)
    lengths, texts = [], []
    for start in range(0, len(prompts), batch_size):
        inputs = tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + batch_size]],
            add_generation_prompt=True,
            padding=True,
            padding_side="left",
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                do_sample=True,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=0,
                max_new_tokens=settings.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
        ended = (new == tokenizer.eos_token_id).int()
        lengths += (ended.cumsum(dim=-1) - ended == 0).sum(dim=-1).tolist()
    return lengths


def sample_ours(
    model: Any, tokenizer: Any, prompts: Sequence[str], settings: LocalSamplingSettings, batch_size: int
) -> list[tuple[int, ...]]:
    """Our sampler; the tokens of each answer."""
    completions = complete_prompts(
        model, tokenizer, prompts, seeds=range(len(prompts)), settings=settings, batch_size=batch_size
    )
    return [completion.token_ids for completion in completions]


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--top-p", type=float, default=1.0)
    arguments = parser.parse_args()
    prepare_torch(num_threads=1, device="cpu")
    opened: Any = open_causal_lm(embedded_path("policy"), dtype="float32")
    model, tokenizer = opened
    prompts = draw_prompts(arguments.prompts, arguments.num_samples)
    settings = LocalSamplingSettings(top_p=arguments.top_p)
    size = arguments.batch_size
    answers = sample_ours(model, tokenizer, prompts[:size], settings, size)  # caches
    table = Table("repeat", "plain generate, tokens/s", "ours, tokens/s", "ratio")
    ratios = []
    for repeat in range(1, arguments.repeats + 1):
        started = time.process_time()
        plain = sum(sample_plainly(model, tokenizer, prompts, settings, size)) / (
            time.process_time() - started
        )
        started = time.process_time()
        answers = sample_ours(model, tokenizer, prompts, settings, size)
        ours = sum(map(len, answers)) / (time.process_time() - started)
        ratios.append(ours / plain)
        table.add_row(str(repeat), f"{plain:.0f}", f"{ours:.0f}", f"{ratios[-1]:.2f}")
    differing = sum(
        a != b for a, b in zip(answers, sample_ours(model, tokenizer, prompts, settings, 7), strict=True)
    )
    lengths = [len(answer) for answer in answers]
    console = Console()
    console.print(table)
    console.print(
        f"{len(prompts)} answers of {min(lengths)} to {max(lengths)} tokens (median {statistics.median(lengths):g}); "
        f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}; "
        f"{differing} answers differ with a batch size of 7"
    )


if __name__ == "__main__":
    main()
