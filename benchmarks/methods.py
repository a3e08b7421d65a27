"""Every method of aligning a policy on the embedded world, by its ground truth.

    python -m benchmarks.methods WORK [--seeds 0 1 2 3 4] [--methods base dpo ...] [--plot FILE]

WORK keeps what is there: for each seed a project up to its reward model (made once, shared by the methods), and a line
of `results.jsonl` for each method and seed. What has a line is not run again, so the work can be done in parts; the
table is printed over all lines. Seconds are of processor time, training alone. `--methods` names keys of METHODS,
`noise` for soft and hard labels under a judge who answers one call in five wrongly, or `curve` for best-of-n against n.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter

from benchmarks.methods_report import report
from benchmarks.projects import finish, start_rlaif
from rlaif_dagster.cli.init import init_command
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.sources import read_constitution, read_prompts
from rlaif_dagster.numerics import prepare_torch
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.tables import Row
from rlaif_dagster.training.methods import PolicySettings
from rlaif_dagster.training.settings import RewardModelSettings

FEEDBACK: Final[dict[str, Any]] = {
    "pairing": {"max_pairs_per_prompt": 12},
    "reward_model": {"learning_rate": 1.0e-3, "num_epochs": 3.0, "batch_size": 32},
}
"""Sections of `pipeline.yaml`: three times the default's pairs. Preferences are what limits DPO here."""
CHECKED: Final[dict[str, Any]] = {"checkpoint_steps": 10}
ONLINE: Final[dict[str, Any]] = {
    **CHECKED,
    "learning_rate": 3.0e-4,
    "max_steps": 70,
    "batch_size": 64,
    "num_generations": 8,
    "max_length": 192,
}
BEST_OF_N: Final[dict[str, Any]] = {
    **CHECKED,
    "method": "best_of_n",
    "learning_rate": 3.0e-4,
    "batch_size": 16,
    "num_epochs": 6.0,
}
DPO: Final[dict[str, Any]] = {
    **CHECKED,
    "method": "dpo",
    "learning_rate": 3.0e-4,
    "num_epochs": 2.0,
    "batch_size": 16,
}
METHODS: Final[dict[str, dict[str, Any] | None]] = {
    "base": None,
    "dpo": {**DPO, "beta": 0.1},
    "dpo-ipo": {**DPO, "loss": "ipo", "beta": 0.3},
    "dpo-robust": {**DPO, "loss": "robust", "label_smoothing": 0.1, "beta": 0.1},
    "rloo": {**ONLINE, "method": "rloo", "beta": 0.05},
    "grpo": {**ONLINE, "method": "grpo", "beta": 0.05},
    "best_of_n": {**BEST_OF_N, "n": 16},
}
CURVE: Final = {f"best_of_{n}": {**BEST_OF_N, "n": n} for n in (2, 4, 8, 16, 32)}
NOISY_JUDGE: Final = {
    "provider": "planted",
    "preference": "embedded_world",
    "noise": 0.2,
    "template": "compact",
}
NUM_SAMPLES: Final = 8
"""Answers of each policy to each held-out prompt."""
SAMPLING: Final = LocalSamplingSettings(num_samples=NUM_SAMPLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A project up to its reward model, of one seed and one judge."""

    folder: Path
    seed: int

    @classmethod
    def make(cls, work: Path, seed: int, *, noisy: bool = False) -> "World":
        """Makes what is not there yet."""
        folder = work / f"{'noisy' if noisy else 'seed'}-{seed}"
        if not (folder / "inputs").is_dir():
            with redirect_stdout(io.StringIO()):
                init_command(folder)
            pipeline = folder / "inputs" / "pipeline.yaml"
            settings = yaml.safe_load(pipeline.read_text())
            pipeline.write_text(yaml.safe_dump(settings | FEEDBACK | {"seed": seed}))
            if noisy:
                (folder / "inputs" / "judge.yaml").write_text(yaml.safe_dump(NOISY_JUDGE))
        # A reward model of noisy labels may not pass the gate on equally noisy held-out ones.
        finish(start_rlaif(folder, "run", "ai_preferences" if noisy else "reward_model"))
        return cls(folder=folder, seed=seed)

    def __truediv__(self, asset: str) -> Path:
        return self.folder / "data" / asset

    def read_pairs(self, split: str, *, hard: bool = False) -> list[Row]:
        """The preferences; hard ones say 1, 0 or one half."""
        rows = list(read_preferences(self / "ai_preferences", split))
        return (
            [{**row, "p_a": (1 + math.copysign(1, row["p_a"] - 0.5)) / 2} for row in rows] if hard else rows
        )


def train(world: World, name: str, section: Mapping[str, Any], output: Path, *, hard: bool) -> dict[str, Any]:
    """Trains a policy; where the world has no reward model, or labels are hard, that first."""
    from rlaif_dagster.training.policy import train_policy
    from rlaif_dagster.training.reward_model import train_reward_model

    device = prepare_torch(num_threads=1, device="cpu")
    scratch = output / "scratch"
    reward_model = world / "reward_model"
    rows = world.read_pairs("train", hard=hard)
    if hard or not reward_model.is_dir():
        section_of_reward = yaml.safe_load((world.folder / "inputs" / "pipeline.yaml").read_text())[
            "reward_model"
        ]
        reward_model = output / "reward_model"
        if not reward_model.is_dir():
            train_reward_model(
                world / "base_policy",
                rows,
                world.read_pairs("eval"),
                RewardModelSettings.model_validate(section_of_reward),
                seed=derive_seed(world.seed, "reward_model"),
                device=device,
                output=reward_model,
                scratch=scratch,
            )
    started = time.process_time()
    result = train_policy(
        world / "base_policy",
        reward_model,
        rows,
        TypeAdapter[PolicySettings](PolicySettings).validate_python(section),
        seed=derive_seed(world.seed, "aligned_policy"),
        device=device,
        output=output / name,
        scratch=scratch,
    )
    return {
        "seconds": time.process_time() - started,
        "chosen_step": result.chosen_step,
        "num_steps": len(result.steps),
        "stopped": result.stopped,
        "reward": [[one.step, one.mean_reward, one.kl_k3, one.mean_num_tokens] for one in result.checkpoints],
    }


def measure(world: World, policy: Path, label: str) -> dict[str, Any]:
    """Compares a policy's held-out answers with the base policy's; one row an answer, and the KL divergence."""
    from rlaif_dagster.generation.dialogues import AnsweredPrompt
    from rlaif_dagster.generation.sampling import sample_responses
    from rlaif_dagster.training.kl import measure_log_ratios
    from rlaif_dagster.world.ground_truth import ground_truth_preference

    device = prepare_torch(num_threads=1, device="cpu")
    prompts = [prompt for prompt in read_prompts(world / "prompts") if prompt.split == "eval"]
    principles = [(p.text, p.weight) for p in read_constitution(world / "constitution").principles]
    answers = [
        sample_responses(
            path,
            [{"prompt_id": prompt.prompt_id, "prompt": prompt.prompt} for prompt in prompts],
            SAMPLING,
            root_seed=derive_seed(world.seed, "benchmark"),
            policy_digest=name,
            device=device,
            batch_size=128,
        ).rows
        for path, name in ((world / "base_policy", "base policy"), (policy, label))
    ]
    texts = {prompt.prompt_id: prompt.prompt for prompt in prompts}
    rows = [
        {
            "prompt_id": base["prompt_id"],
            "ground_truth": ground_truth_preference(
                principles, texts[base["prompt_id"]], aligned["text"], base["text"]
            ),
            "tokens": aligned["num_tokens"],
            "base_tokens": base["num_tokens"],
        }
        for base, aligned in zip(*answers, strict=True)
    ]
    ratios = measure_log_ratios(
        policy,
        world / "base_policy",
        [AnsweredPrompt.from_response(texts[row["prompt_id"]], row) for row in answers[1]],
        device=device,
    )
    return {"rows": [{**row, "log_ratio": ratio} for row, ratio in zip(rows, ratios, strict=True)]}


def list_tasks(methods: Iterable[str]) -> Iterator[tuple[str, str, Mapping[str, Any] | None, bool]]:
    """Yields (line's name, world, policy section, hard labels) of what is asked for."""
    for method in methods:
        if method == "curve":
            yield from ((name, "seed", section, False) for name, section in CURVE.items())
        elif method == "noise":
            for labels in ("soft", "hard"):
                yield f"noisy dpo {labels}", "noisy", METHODS["dpo"], labels == "hard"
        else:
            yield method, "seed", METHODS[method], False


def run_task(
    work: Path, seed: int, name: str, world_name: str, section: Mapping[str, Any] | None, *, hard: bool
) -> dict[str, Any]:
    """Trains and measures one method for one seed."""
    world = World.make(work, seed, noisy=world_name == "noisy")
    output = work / "policies" / f"{world_name}-{seed}{'-hard' if hard else ''}"
    facts: dict[str, Any] = {"seconds": 0.0, "stopped": None}
    policy = world / "base_policy"
    if section is not None:
        facts = train(world, name, section, output, hard=hard)
        policy = output / name
    return {"name": name, "seed": seed, "section": section, **facts, **measure(world, policy, name)}


def read_results(work: Path) -> list[dict[str, Any]]:
    """The lines that there are."""
    file = work / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Runs what has no line yet, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--methods", nargs="*", default=[*METHODS, "noise", "curve"])
    parser.add_argument("--plot", type=Path, help="draw ground-truth wins over KL, as PNG")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    for seed in arguments.seeds:
        for name, world_name, section, hard in list_tasks(arguments.methods):
            if not any((line["name"], line["seed"]) == (name, seed) for line in read_results(work)):
                result = run_task(work, seed, name, world_name, section, hard=hard)
                with (work / "results.jsonl").open("a") as lines:
                    lines.write(json.dumps(result) + "\n")
    report(read_results(work), arguments.plot)


if __name__ == "__main__":
    main()
