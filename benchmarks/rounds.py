"""What rounds bring: gains that end, and a judge that is no better than the policy, told apart before it costs much.

    python -m benchmarks.rounds WORK [--seeds 0 1 2] [--rounds 6] [--judges strong weak own untaught] [--keep-going]

Judges on the default project, for each seed of the whole project:

- `strong`: the embedded judge, which is right more often than the policy ever is.
- `weak`: a planted judge that knows each principle that parts two answers, and has a fixed fancy for one of them under
  each that does not. So its labels are right about as often as the policy's own likelihoods (`judge - policy`).
- `own`: one model that is policy and judge: the embedded policy after some lessons in judging manners, which still
  answers much as the policy does (`embedded.make_weights.make_self_judge`; WORK keeps it).
- `untaught`: the embedded policy itself, asked with the judge's prompt. It was never taught to judge.

Ground-truth wins are by the embedded world's ground truth, which no stage of training sees. With `--keep-going`
thresholds ask nothing, so that the table shows what the rounds after a stop would have been worth.

WORK keeps a project for each run, and a line of `results.jsonl` for each that came to its end. What has a line is not
run again, and what was interrupted goes on where it was, so the work can be done in parts; the tables are printed over
all lines. Seconds are processor time, of the parts that were not interrupted.
"""

import argparse
import io
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.embedded.make_weights import make_self_judge
from rlaif_dagster.errors import GateError, TrainingError
from rlaif_dagster.graph.judge_gates import read_judge_audit
from rlaif_dagster.graph.plateau import read_plateau
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.rounds import name_in_round
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import PLATEAU
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.rounds.plateau import PlateauSettings, watch_judge

SELF_JUDGE: Final = "models/self_judge"
NO_GATES: Final = {"gates": {"min_order_agreement": None}}
LOCAL: Final = {"provider": "local", "template": "compact"}
JUDGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "strong": {**LOCAL, "model": "embedded:judge"},
    "weak": {"provider": "planted", "preference": "embedded_world", **NO_GATES},
    "own": {**LOCAL, "model": SELF_JUDGE, **NO_GATES},
    "untaught": {**LOCAL, "model": "embedded:policy", **NO_GATES},
}
ASK_NOTHING: Final[Mapping[str, Any]] = {
    "min_gain": -1.0,
    "min_gap": None,
    "max_disagreement": None,
    "max_length_growth": None,
    "min_diversity": None,
    "stronger_than_policy": False,
}


def open_project(folder: Path, *, judge: str, seed: int, rounds: int, keep_going: bool) -> Project:
    """A default project with a judge, a seed and rounds; what an interrupted run made of it is kept."""
    if not (folder / "inputs").is_dir():
        with redirect_stdout(io.StringIO()):
            init_command(folder)
    file = folder / "inputs" / "pipeline.yaml"
    pipeline = yaml.safe_load(file.read_text())
    plateau = dict(ASK_NOTHING) if keep_going else {}
    pipeline.update(seed=seed, rounds=rounds, plateau=plateau, release={"require": []})
    if judge == "own":
        taught = folder.parent / "self_judge"
        if not (taught / "model.safetensors").is_file():
            make_self_judge(taught)
        if not (folder / SELF_JUDGE).is_dir():
            shutil.copytree(taught, folder / SELF_JUDGE)
        pipeline["base_policy"] = {"model": SELF_JUDGE}
    (folder / "inputs" / "judge.yaml").write_text(json.dumps(JUDGES[judge]))
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


def run_task(folder: Path, judge: str, seed: int, *, rounds: int, keep_going: bool) -> dict[str, Any]:
    """Runs one project to its end, and says what became of it."""
    project = open_project(folder, judge=judge, seed=seed, rounds=rounds, keep_going=keep_going)
    started = time.process_time()
    ended = run_project(project)
    release = project.ledger.find_head("released_policy")
    return {
        "seconds": time.process_time() - started,
        "rounds": list(list_rounds(project, rounds)),
        "released": release.metrics["reason"] if release else None,
        "ended": ended,
    }


def list_rounds(project: Project, rounds: int) -> Iterator[dict[str, Any]]:
    """What is known of each round that was begun: its judge, and if it was trained, what it brought."""
    heads = project.ledger.find_heads()
    for number in range(1, rounds + 1):
        roles = ("judge_audit", "ai_preferences", "evaluation", PLATEAU)
        names = {role: name_in_round(role, number) for role in roles}
        labels = heads.get(names["ai_preferences"])
        if labels is None or labels.is_stopped:
            return
        plateau = heads.get(names[PLATEAU])
        if plateau is None or plateau.is_stopped:
            told = watch_judge(
                read_preferences(project.root / "data" / names["ai_preferences"], "train"),
                read_judge_audit(project.root / "data" / names["judge_audit"]),
                PlateauSettings(),
                confidence=0.95,
            )
            yield {"round": number, "signals": {signal.name: signal.to_json() for signal in told}}
            return
        newest = read_plateau(project.root / "data" / names[PLATEAU])[-1]
        figures = heads[names["evaluation"]].metrics
        yield {
            "round": number,
            "signals": {signal["name"]: signal for signal in newest["signals"]},
            **{name: figures[name] for name in ("win_rate_judge", "win_rate_ground_truth", "kl")},
            "reasons": newest["reasons"],
        }


def print_tables(results: list[dict[str, Any]]) -> None:
    """Prints a table for each judge, and under it how each of its runs ended."""
    console = Console(width=230)
    for arm in dict.fromkeys(result["arm"] for result in results):
        table = Table("seed", "round", "win rate, ground truth", "win rate, judge", title=f"judge: {arm}")
        for column in ("gain", "gap", "judge wrong", "judge - policy", "KL", "length", "diversity", "then"):
            table.add_column(column)
        mine = sorted((result for result in results if result["arm"] == arm), key=lambda line: line["seed"])
        for result in mine:
            for made in result["rounds"]:
                signals = made["signals"]
                table.add_row(
                    str(result["seed"]),
                    str(made["round"]),
                    *(show(made.get(name)) for name in ("win_rate_ground_truth", "win_rate_judge")),
                    *(
                        show(signals.get(name))
                        for name in ("gain", "gap", "disagreement", "judge_minus_policy")
                    ),
                    show(made.get("kl")),
                    *(show(signals.get(name), interval=False) for name in ("length", "diversity")),
                    "not trained" if "reasons" not in made else "; ".join(made["reasons"]) or "goes on",
                )
        console.print(table)
        for result in mine:
            end = f"released: {result['released']}" if result["released"] else f"ended: {result['ended']}"
            console.print(f"seed {result['seed']}: {end} ({result['seconds']:.0f} s)")


def show(figure: Mapping[str, Any] | None, *, interval: bool = True) -> str:
    """A figure with its interval, if there is one."""
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None or not interval:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def read_results(work: Path) -> list[dict[str, Any]]:
    """The lines that there are."""
    file = work / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Runs what has no line yet, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--judges", nargs="*", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--keep-going", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for judge in arguments.judges:
            arm = f"{judge}-all-rounds" if arguments.keep_going else judge
            if any((line["arm"], line["seed"]) == (arm, seed) for line in read_results(work)):
                continue
            result = run_task(
                work / f"{arm}-{seed}",
                judge,
                seed,
                rounds=arguments.rounds,
                keep_going=arguments.keep_going,
            )
            with (work / "results.jsonl").open("a") as lines:
                lines.write(json.dumps({"arm": arm, "seed": seed, **result}) + "\n")
    print_tables(read_results(work))


if __name__ == "__main__":
    main()
