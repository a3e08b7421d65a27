"""How much memory preference pairs take on their way from answers to the first steps of training.

    python -m benchmarks.memory [--pairs 200000] [--words 100 200] [--principles 1] [--steps 2]

Makes a project with two answers of 100 to 200 made-up words (580 characters and 175 tokens in the mean) to each of as
many prompts as there are pairs, so that no two pairs share a text: as much text as pairs can have. Then brings each
asset from `judgements` to `aligned_policy` up to date in a process of its own, through the stages, the checks, the
store and the ledger that `rlaif run` uses. The answers are made up, the judge is a planted one, and the models are so
small that they count for nothing: what is measured is the handling of the pairs. The reward model and the policy (by
DPO) are trained for a few steps; before and after them every pair is encoded, scored and measured as in any training.

Prints the peak resident memory and the time of each process, what its imports alone take, and which of them needed
2 GB or more. With fewer pairs as well (`--pairs 50000 200000`) it tells what a pair adds.
"""

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from rlaif_dagster.names import PROMPTS_TABLE
from tests.plain_stages import change

RESPONSES: Final = "responses"
PARTS: Final = (
    "judgements",
    "judge_audit",
    "judge_canary",
    "ai_preferences",
    "reward_model",
    "aligned_policy",
)
TRAINED: Final = ("reward_model", "aligned_policy")
LIMIT_MB: Final = 2000
SYLLABLES: Final = [
    first + second for first in "bdfgklmnprstv" for second in ("a", "en", "i", "o", "u", "er")
]
WORDS: Final = [*SYLLABLES, *(first + second for first in SYLLABLES[::4] for second in SYLLABLES[::2])]
WEIGHTS: Final = list(itertools.accumulate(1 / rank for rank in range(1, len(WORDS) + 1)))
SPECIAL: Final = ("<pad>", "<end>", "<user>", "<assistant>")
CHAT_TEMPLATE: Final = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_text(rng: random.Random, least: int, most: int) -> str:
    """A text of made-up words, some of which are as frequent as in a language."""
    return " ".join(rng.choices(WORDS, cum_weights=WEIGHTS, k=rng.randint(least, most))) + "."


def write_model(folder: Path, texts: Iterator[str]) -> None:
    """Writes a policy that is as small as one can be, with a tokenizer that was trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe: Any = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1], chat_template=CHAT_TEMPLATE
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_inputs(
    root: Path, *, num_pairs: int, words: Sequence[int], num_principles: int, num_steps: int
) -> None:
    """Writes the files that a person edits."""
    from benchmarks.projects import init_project

    init_project(root)
    inputs = root / "inputs"
    rng = random.Random(0)  # noqa: S311 (no secret is made)
    with (inputs / "prompts.jsonl").open("w") as file:
        for number in range(num_pairs):
            file.write(json.dumps({"prompt": f"{number} {make_text(rng, 10, 30)}"}) + "\n")
    write_model(root / "tiny", (make_text(rng, *words) for _ in range(500)))
    training = {"learning_rate": 1e-3, "max_steps": num_steps}
    sections = {
        "prompts": {"file": "inputs/prompts.jsonl", "eval_fraction": 0.1},
        "base_policy": {"model": "tiny"},
        "reward_model": training,
        "policy": {
            "method": "dpo",
            **training,
            "checkpoint_steps": num_steps,
            "checkpoint_prompts": 4,
            "max_new_tokens": 8,
        },
    }
    pipeline = yaml.safe_load((inputs / "pipeline.yaml").read_text())
    pipeline |= sections
    pipeline["evaluation"] = {}
    (inputs / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    (inputs / "judge.yaml").write_text(yaml.safe_dump({"provider": "planted", "preference": "longer"}))
    principles = [{"id": f"p{n}", "text": f"Follow rule {n}.", "weight": 1} for n in range(num_principles)]
    (inputs / "constitution.yaml").write_text(yaml.safe_dump({"principles": principles}))


def make_responses(words: Sequence[int], context: Any) -> Any:
    """Computes `sampled_responses` without a policy: two answers to each prompt."""
    from rlaif_dagster.graph.responses import write_responses
    from rlaif_dagster.graph.stage import StageResult
    from rlaif_dagster.tables import stream_table

    rng = random.Random(1)  # noqa: S311
    rows = (
        {
            "response_id": f"{prompt['prompt_id'][:15]}{index}",
            "prompt_id": prompt["prompt_id"],
            "source": "made up",
            "index": index,
            "seed": None,
            "text": make_text(rng, *words),
            "num_tokens": None,
            "finish_reason": None,
        }
        for prompt in stream_table(context.inputs["prompts"] / PROMPTS_TABLE)
        for index in range(2)
    )
    return StageResult(rows=write_responses(context.output, rows))


def bring_up_to_date(root: Path, part: str, words: Sequence[int]) -> None:
    """Materialises one asset, or for the part `responses` all in front of `judgements`."""
    from rlaif_dagster.graph.build import build_graph
    from rlaif_dagster.lineage.project import Project
    from rlaif_dagster.lineage.reuse import materialise
    from rlaif_dagster.progress import ignore_progress

    project = Project.open(root)
    graph = build_graph(project.read_inputs())
    graph["sampled_responses"] = change(
        graph["sampled_responses"], compute=partial(make_responses, words), checks=()
    )
    # A reward model after two steps passes no gate: the policy says why it is made all the same.
    graph["aligned_policy"] = change(graph["aligned_policy"], reason="a benchmark")
    names = list(graph)
    asked = names[: names.index("judgements")] if part == RESPONSES else [part]
    for name in asked:
        materialise(project, graph[name], progress=ignore_progress, again=True)


def import_part(part: str) -> None:
    """Imports what a part works with."""
    import rlaif_dagster.graph.build
    import rlaif_dagster.lineage.reuse

    if part in TRAINED:
        import rlaif_dagster.training.policy
        import rlaif_dagster.training.trainers  # noqa: F401


def run_part(root: Path, part: str, words: Sequence[int], *, only_imports: bool) -> None:
    """Runs a part in this process, and prints what it took."""
    started, used = time.perf_counter(), time.process_time()
    if only_imports:
        import_part(part)
    else:
        bring_up_to_date(root, part, words)
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    print(json.dumps(figures))


def start_part(root: Path, part: str, *more: str) -> dict[str, float]:
    """Runs a part in a process of its own, with further options; returns its figures."""
    command = [sys.executable, "-m", "benchmarks.memory", "--part", part, "--work", str(root)]
    done = subprocess.run([*command, *more], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(options: argparse.Namespace, num_pairs: int, folder: Path) -> dict[str, dict[str, float]]:
    """Measures every part with a number of pairs."""
    root = folder / str(num_pairs)
    words = ["--words", *map(str, options.words)]
    if not root.exists():
        make = [sys.executable, "-m", "benchmarks.memory", "--make", "--pairs", str(num_pairs)]
        make += ["--principles", str(options.principles), "--steps", str(options.steps), "--work", str(root)]
        subprocess.run([*make, *words], check=True)
        start_part(root, RESPONSES, *words)
    return {part: start_part(root, part) for part in options.parts}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[200_000])
    parser.add_argument("--words", type=int, nargs=2, default=[100, 200], help="least and most of an answer")
    parser.add_argument("--principles", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path, help="a folder in which the projects stay; else a temporary one")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--only-imports", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options.work, options.part, options.words, only_imports=options.only_imports)
        return
    if options.make:
        write_inputs(
            options.work,
            num_pairs=options.pairs[0],
            words=options.words,
            num_principles=options.principles,
            num_steps=options.steps,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        imports = {
            part: start_part(Path(folder), part, "--only-imports")["peak_mb"] for part in options.parts
        }
        for num_pairs in options.pairs:
            table = Table(
                "asset",
                "imports alone, MB",
                "peak MB",
                "kB a pair over imports",
                "seconds",
                "processor s",
                "processor ms a pair",
                title=f"{num_pairs:,} pairs, {2 * num_pairs * options.principles:,} verdicts",
            )
            measured = measure(options, num_pairs, options.work or Path(folder))
            for part, figures in measured.items():
                table.add_row(
                    part,
                    f"{imports[part]:.0f}",
                    f"{figures['peak_mb']:.0f}",
                    f"{1000 * (figures['peak_mb'] - imports[part]) / num_pairs:.2f}",
                    f"{figures['seconds']:.0f}",
                    f"{figures['cpu_seconds']:.0f}",
                    f"{1000 * figures['cpu_seconds'] / num_pairs:.2f}",
                )
            Console(width=120).print(table)
            large = [part for part, figures in measured.items() if figures["peak_mb"] >= LIMIT_MB]
            print(f"{LIMIT_MB:,} MB or more: {', '.join(large) or 'none'}")


if __name__ == "__main__":
    main()
