"""Makes the embedded models from nothing: `python -m rlaif_dagster.embedded.make_weights [--out DIR]`.

Builds the tokenizer, trains policy and judge on the generated world, measures both on questions that they never saw,
and writes `models/policy`, `models/judge` and `MODEL_CARD.md`. Seeded: the same machine makes the same bytes. Takes
about half an hour on two cores.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.models import EmbeddedName, embedded_path

if TYPE_CHECKING:
    from rlaif_dagster.embedded.measuring import Agreement, SampledResponses

SEED: Final = 2
MEASURED_PAIRS: Final = 400
MEASURED_RESPONSES: Final = 8
TEMPLATE: Final = "compact"


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description="Make the weights of the embedded models.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="where models/ and the card go"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    make_weights(arguments.out, arguments.seed)


def make_weights(out: Path, seed: int = SEED) -> None:
    """Trains, measures and writes everything; the content of `out` is replaced only when everything is done."""
    with tempfile.TemporaryDirectory(dir=out) as work:
        models = Path(work, "models")
        names = get_args(EmbeddedName)
        with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
            for future in [pool.submit(teach_and_save, name, models / name, seed) for name in names]:
                future.result()
        card = measure_models(models, seed)
        print(card)
        shutil.rmtree(out / "models", ignore_errors=True)
        models.rename(out / "models")
        (out / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def teach_and_save(name: EmbeddedName, folder: Path, seed: int) -> None:
    """Trains one model on one thread, and writes it and its tokenizer to a folder that `from_pretrained` opens."""
    from rlaif_dagster.embedded import teaching
    from rlaif_dagster.embedded.tokenizer import build_tokenizer
    from rlaif_dagster.judging.templates import load_template
    from rlaif_dagster.numerics import prepare_torch

    prepare_torch(num_threads=1, device="cpu")
    tokenizer = build_tokenizer()
    if name == "policy":
        model = teaching.teach_policy(tokenizer, seed, _print_progress)
    else:
        model = teaching.teach_judge(tokenizer, load_template(TEMPLATE), seed, _print_progress)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def make_self_judge(folder: Path, seed: int = SEED) -> None:
    """Teaches the embedded policy to judge a little, and writes it: one model that answers and judges its own answers.

    Takes about a minute. It is not shipped: benchmarks and tests make it when they need it.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from rlaif_dagster.embedded import teaching
    from rlaif_dagster.judging.templates import load_template
    from rlaif_dagster.numerics import prepare_torch

    prepare_torch(num_threads=1, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(embedded_path("policy"))
    model = LlamaForCausalLM.from_pretrained(embedded_path("policy"), dtype=torch.float32)
    teaching.teach_self_judge(
        model, tokenizer=tokenizer, template=load_template(TEMPLATE), seed=seed, progress=_print_progress
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure_models(models: Path, seed: int) -> str:
    """Measures the models on questions that they never saw, and writes their card."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlaif_dagster.embedded import measuring
    from rlaif_dagster.judging.templates import load_template
    from rlaif_dagster.numerics import prepare_torch

    prepare_torch(num_threads=1, device="cpu")
    template = load_template(TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(models / "judge")
    policy, judge = (
        AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32).eval()
        for name in ("policy", "judge")
    )
    print("measuring")
    pairs = measuring.draw_decided_pairs(seed, MEASURED_PAIRS)
    agreements = measuring.measure_agreement(pairs, measuring.judge_pairs(judge, tokenizer, template, pairs))
    responses = measuring.sample_unseen_answers(policy, tokenizer, seed, MEASURED_RESPONSES)
    own_pairs = measuring.pair_responses(responses.prompts, responses.texts, seed)
    own_agreements = measuring.measure_agreement(
        own_pairs, measuring.judge_pairs(judge, tokenizer, template, own_pairs)
    )
    return compose_card(models, agreements, own_agreements, responses, seed)


def compose_card(
    models: Path,
    agreements: "list[Agreement]",
    own_agreements: "list[Agreement]",
    responses: "SampledResponses",
    seed: int,
) -> str:
    """Writes the model card: what was made, how, how good it is, and what it cannot do."""
    from rlaif_dagster.embedded import teaching

    manifests: dict[EmbeddedName, FolderManifest] = {
        "policy": FolderManifest.from_folder(models / "policy"),
        "judge": FolderManifest.from_folder(models / "judge"),
    }
    megabytes = sum(manifest.size for manifest in manifests.values()) / 1e6
    files = [
        (f"`{name}/{file.path}`", f"{file.size:,}", f"`{file.digest}`")
        for name, manifest in manifests.items()
        for file in manifest.files
    ]
    settings = [
        (name, s.num_layers, s.width, s.mlp_width, s.num_heads, t.steps, t.batch, t.learning_rate)
        for name, s, t in (
            ("policy", teaching.POLICY_SHAPE, teaching.POLICY_TEACHING),
            *((f"judge, {x.name}", teaching.JUDGE_SHAPE, x.teaching) for x in teaching.JUDGE_LESSONS),
        )
    ]
    num_responses = sum(map(len, responses.texts))
    return _CARD.format(
        megabytes=f"{megabytes:.1f}",
        folders=_format_table(
            ("model", "digest of the folder"), ((n, f"`{m.digest}`") for n, m in manifests.items())
        ),
        files=_format_table(("file", "bytes", "digest"), files),
        settings=_format_table(
            ("model", "layers", "width", "MLP width", "heads", "steps", "batch", "learning rate"), settings
        ),
        seed=seed,
        agreement=_format_agreements(agreements),
        own_agreement=_format_agreements(own_agreements),
        clean=f"{responses.clean_share:.2%}",
        num_responses=f"{num_responses:,}",
        num_prompts=len(responses.prompts),
        num_tokens=f"{responses.num_tokens:.1f}",
    )


def _format_agreements(rows: "Iterable[Agreement]") -> str:
    return _format_table(
        (
            "principle",
            "decided pairs",
            "agrees with the ground truth",
            "flips with the order",
            "mean P(better answer)",
        ),
        (
            (r.kind, r.num_pairs, f"{r.agreement:.1%}", f"{r.flips:.1%}", f"{r.mean_p_ground_truth:.3f}")
            for r in rows
        ),
    )


def _format_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(header)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _print_progress(what: str, done: int, total: int, note: str = "") -> None:
    del note
    if done % 25 == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


_CARD: Final = """\
# Model card: the embedded policy and judge

Two tiny Llama-shaped models with one byte-level BPE tokenizer, {megabytes} MB in all, made from scratch by
`python -m rlaif_dagster.embedded.make_weights`, which also wrote this card. They contain no text by others. Licence:
Apache-2.0, like the package.

## What they are for
They run the whole pipeline for real, without download, key or GPU, in a small world with known ground truth. They are
test equipment, not assistants.

- The **policy** answers questions about a town, household tasks, secrets, crimes and feelings. It was taught to
  behave badly about as often as well: half of its answers are right, a third are rude, a third flatter.
- The **judge** reads `judging/templates/compact.yaml` (rule, request, two answers) and says `A` or `B`. It was taught
  the verdicts of `world/ground_truth.py`, with 0.5 for ties.

## How good they are
All figures are on questions (with any opening) that neither model was trained on.

Judge, on pairs drawn from the world, similar and different, good and bad. Both orders of each pair are judged; the
preference is the mean of the two.

{agreement}

Judge, pairs of the policy's own answers:

{own_agreement}

Policy: {num_responses} answers to {num_prompts} prompts at temperature 1, without top-k and top-p. The world's grammar
accepts {clean} of them. Their mean length is {num_tokens} tokens.

## What they cannot do
- They know only the sentences of `world/lexicon.py`. Their answers to any other text mean nothing.
- The judge knows only the wordings in `WORDINGS` of that world, one principle at a time (protocol `per_principle`).
- A verdict on text outside the world's grammar, or on a constitution in one text (protocol `joint`), is noise.
- "Unseen" means an unseen combination of wording and subject: each subject and each wording was seen in others.
- The facts are invented. So are the crimes, and the answers that assist them are nonsense.

## How they were made
Seed {seed}, one thread each. Policy: cross-entropy over the answers of fresh dialogues. Judge, on fresh pairs in both
orders: cross-entropy of the verdict, plus the error of a linear probe that reads the ground truth's score where each
answer ends (the probe is discarded), plus 0.2 of a language-model loss. Muon for the matrices, AdamW for the rest. A
step takes `batch` dialogues or pairs; they repeat only by chance. The judge's second lesson repeats the facts of the
town.

{settings}

## Digests
{folders}

{files}
"""


if __name__ == "__main__":
    main()
