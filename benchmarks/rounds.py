"""What rounds bring: gains that end, and a judge as weak as the policy that is told apart after one round.

    python -m benchmarks.rounds [--seeds 3] [--rounds 5] [--judges strong weak own]

Three judges on the default project, for each seed of the whole project:

- `strong`: the embedded judge, which is right more often than the policy ever is. Rounds gain, then reach a plateau.
- `weak`: a planted judge that is right about as often as the policy's own likelihoods (the column `judge - policy`).
- `own`: the embedded policy itself, asked with the judge's prompt. It was never taught to judge: where no label
  decides, or no reward model learns from its labels, the first round's own gates end the run, and the table has their
  words.

Gold wins are the embedded world's truth, which no stage of training sees. With `--keep-going` thresholds ask nothing,
so that the table shows what the rounds after a stop would have been worth.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.errors import GateError, TrainingError
from rlaif_dagster.graph.plateau import read_plateau
from rlaif_dagster.graph.rounds import PLATEAU, name_in_round
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import materialise
from rlaif_dagster.progress import ignore_progress

NO_GATES: Final = {"gates": {"min_order_agreement": None}}
JUDGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "strong": {"provider": "local", "model": "embedded:judge", "template": "compact"},
    "weak": {"provider": "planted", "preference": "embedded_world", "noise": 0.05, **NO_GATES},
    "own": {"provider": "local", "model": "embedded:policy", "template": "compact", **NO_GATES},
}
ASK_NOTHING: Final[Mapping[str, Any]] = {
    "min_gain": -1.0,
    "min_gap": None,
    "max_disagreement": None,
    "max_length_growth": None,
    "min_diversity": None,
    "stronger_than_policy": False,
}


def make_project(folder: Path, *, judge: str, seed: int, rounds: int, keep_going: bool) -> Project:
    """A default project with a judge, a seed and rounds; nothing is made yet."""
    with redirect_stdout(io.StringIO()):
        init_command(folder)
    (folder / "inputs" / "judge.yaml").write_text(json.dumps(JUDGES[judge]))
    file = folder / "inputs" / "pipeline.yaml"
    pipeline = yaml.safe_load(file.read_text())
    plateau = ASK_NOTHING if keep_going else {}
    pipeline.update(seed=seed, rounds=rounds, plateau=dict(plateau), release={"require": []})
    file.write_text(yaml.safe_dump(pipeline))
    return Project.open(folder)


def run_project(project: Project) -> str:
    """Does what `rlaif run` does, without Dagster; returns what ended it, if that was not its end."""
    for stage in project.build_graph().values():
        try:
            materialise(project, stage, progress=ignore_progress)
        except (GateError, TrainingError) as error:
            return str(error).splitlines()[0]
    return ""


def list_rows(project: Project, rounds: int) -> Iterator[tuple[str, ...]]:
    """A row for each round that was made."""
    heads = project.ledger.find_heads()
    for number in range(1, rounds + 1):
        plateau = heads.get(name_in_round(PLATEAU, number))
        if plateau is None or plateau.is_stopped:
            return
        figures = heads[name_in_round("evaluation", number)].metrics
        folder = project.root / "data" / name_in_round(PLATEAU, number)
        told = read_plateau(folder)[-1]
        signals = {signal["name"]: signal for signal in told["signals"]}
        yield (
            str(number),
            _word(figures["win_rate_judge"]),
            _word(figures["win_rate_gold"]),
            *(_word(signals[name]) for name in ("gain", "gap", "disagreement", "judge_minus_policy")),
            _word(figures["kl"]),
            *(f"{signals[name]['value']:.2f}" for name in ("length", "diversity")),
            "; ".join(told["reasons"]) or "goes on",
        )


def _word(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--keep-going", action="store_true")
    arguments = parser.parse_args()
    console = Console(width=220)
    for judge in arguments.judges:
        columns = (
            "round",
            "win rate, judge",
            "win rate, gold",
            "gain",
            "gap",
            "judge wrong",
            "judge - policy",
        )
        table = Table("seed", *columns, "KL", "length", "diversity", "what then", title=f"judge: {judge}")
        notes = []
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                project = make_project(
                    Path(folder, "project"),
                    judge=judge,
                    seed=seed,
                    rounds=arguments.rounds,
                    keep_going=arguments.keep_going,
                )
                ended = run_project(project)
                for row in list_rows(project, arguments.rounds):
                    table.add_row(str(seed), *row)
                release = project.ledger.find_head("released_policy")
            chosen = f"released: {release.metrics['reason']}" if release else f"ended: {ended}"
            notes.append(f"seed {seed}: {chosen} ({time.perf_counter() - started:.0f} s)")
        console.print(table)
        for note in notes:
            console.print(note)


if __name__ == "__main__":
    main()
