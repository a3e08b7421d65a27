"""Judging on the embedded judge: pairs a second over those of a plain batched forward loop.

    python -m benchmarks.local_judging [--prompts 20] [--repeats 5] [--batch-size 128]

Both judge the same pairs of answers of the embedded world, in both orders, by each principle of the default
constitution, and both open the model, render and tokenise. The plain loop takes requests as they come, pads each batch
on the left to its longest with an attention mask, and keeps the logits of the last position. The two take turns in one
process with one thread, and processor time is counted, so that a busy machine matters less. Prints both speeds, their
ratio and its spread, and how far the verdicts are apart.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from rlaif_dagster.digest import Digest
from rlaif_dagster.embedded.corpus import (
    POLICY_STYLE,
    list_unseen_questions,
    open_random,
    sample_answer,
)
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.providers.local import LocalJudge, LocalJudgeSettings
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.models import embedded_path, open_causal_lm
from rlaif_dagster.numerics import prepare_torch
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.world import lexicon
from rlaif_dagster.world.questions import CATEGORIES, compose_prompt

NUM_ANSWERS = 4
TEMPLATE = load_template("compact")


def draw_calls(num_prompts: int) -> list[Call]:
    """Draws questions of the world and answers to them; all pairs, both orders, the default principles."""
    rng = open_random(0, "benchmark", "local judging")
    principles = ProjectInputs.read(TEMPLATE_ROOT).constitution.principles
    calls = []
    for _ in range(num_prompts):
        question = rng.choice(list_unseen_questions(rng.choice(CATEGORIES)))
        prompt = compose_prompt(rng.choice(lexicon.OPENINGS), question)
        answers = [sample_answer(rng, question, POLICY_STYLE).text for _ in range(NUM_ANSWERS)]
        for one, other in itertools.combinations(answers, 2):
            for principle in principles:
                for first, second in ((one, other), (other, one)):
                    texts = {"principle": principle.text, "prompt": prompt, "first": first, "second": second}
                    calls.append(Call.from_texts(Digest.from_bytes(b"benchmark"), texts))
    return calls


def judge_plainly(calls: list[Call], batch_size: int) -> dict[str, float]:
    """The plain loop; P(first is better) by call."""
    import torch

    opened: Any = open_causal_lm(embedded_path("judge"), dtype="float32")
    model, tokenizer = opened
    words = [tokenizer.convert_tokens_to_ids(TEMPLATE.verdicts[side]) for side in ("first", "second")]
    scores: dict[str, float] = {}
    with torch.inference_mode():
        for start in range(0, len(calls), batch_size):
            batch = calls[start : start + batch_size]
            inputs = tokenizer.apply_chat_template(
                [TEMPLATE.render(call.texts) for call in batch],
                add_generation_prompt=True,
                padding=True,
                return_dict=True,
                return_tensors="pt",
            )
            logits = model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1, words]
            found = logits.softmax(dim=-1)[:, 0].tolist()
            scores.update(zip((call.call_id for call in batch), found, strict=True))
    return scores


def judge_locally(calls: list[Call], batch_size: int) -> dict[str, float]:
    """Our judge; P(first is better) by call."""
    settings = LocalJudgeSettings(provider="local", model="embedded:judge", template="compact")
    judge = LocalJudge(settings, TEMPLATE, folder=embedded_path("judge"), batch_size=batch_size)
    return {
        answer.call_id: answer.score
        for answer in itertools.chain.from_iterable(judge.ask(calls))
        if answer.score is not None
    }


def time_judge(
    judge: Callable[[list[Call], int], Mapping[str, float]], calls: list[Call], batch_size: int
) -> tuple[Mapping[str, float], float]:
    """Judges; returns the verdicts and the pairs a second of processor time (a pair is two calls)."""
    started = time.process_time()
    scores = judge(calls, batch_size)
    return scores, len(scores) / 2 / (time.process_time() - started)


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    prepare_torch(num_threads=1, device="cpu")
    calls = draw_calls(arguments.prompts)
    judge_locally(calls[:100], arguments.batch_size)  # imports and caches
    table = Table("repeat", "plain loop, pairs/s", "local judge, pairs/s", "ratio")
    ratios, difference = [], 0.0
    for repeat in range(1, arguments.repeats + 1):
        plain, plain_speed = time_judge(judge_plainly, calls, arguments.batch_size)
        ours, our_speed = time_judge(judge_locally, calls, arguments.batch_size)
        difference = max(difference, *(abs(ours[call_id] - p) for call_id, p in plain.items()))
        ratios.append(our_speed / plain_speed)
        table.add_row(str(repeat), f"{plain_speed:.0f}", f"{our_speed:.0f}", f"{ratios[-1]:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{len(calls)} calls; ratio: median {statistics.median(ratios):.2f}, "
        f"from {min(ratios):.2f} to {max(ratios):.2f}; verdicts differ by at most {difference:.1e}"
    )


if __name__ == "__main__":
    main()
