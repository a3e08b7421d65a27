"""While a command works, a person sees how far it is, and so does a log; nothing else is printed in between."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rlaif_dagster.cli.bars import LINE_SECONDS, Bars, Lines
from tests.cli.terminal import Terminal, open_pipes, open_terminal, read_line_with
from tests.conftest import edit_yaml, run_assets, run_rlaif
from tests.graph.planted_project import make_planted, write_lines
from tests.lineage.tiny_project import make_tiny

FOREIGN = re.compile("dagster|Traceback|Warning|KeyboardInterrupt")
"""What no line of the command may have; the projects of the tests have other names."""
ENDED = re.compile(r"^\S+: (computed|reused)(, [\d,]+ rows?)?, [\d,]+\.\d s$")
"""The one line that stays of each asset."""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project whose responses and verdicts are those of the real models; it samples and trains in several steps."""
    project = make_tiny(tmp_path / "project").root
    prompts = project / "inputs" / "prompts.jsonl"
    prompts.write_text(
        prompts.read_text()
        + "".join(json.dumps({"prompt": f"How can I make tea {n}?"}) + "\n" for n in range(18))
    )
    edit_yaml(
        project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            execution={"sampling_batch_size": 4, "judging_batch_size": 16},
            reward_model={"num_epochs": 16.0, "batch_size": 8},
        ),
    )
    return project


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with verdicts, a remote, and a file of verdicts."""
    project = make_tiny(tmp_path_factory.mktemp("planted") / "project").root
    make_planted(project)
    with (project / ".dvc" / "config").open("a") as stream:
        stream.write(f"    remote = store\n['remote \"store\"']\n    url = {project.parent / 'remote'}\n")
    write_lines(
        project / "verdicts.jsonl",
        [
            {"pair_id": pair, "judge": "j", "order": order, "verdict": "first", "ground_truth": "a"}
            for pair in range(20)
            for order in ("ab", "ba")
        ],
    )
    run_assets("judge_canary", project=project)
    return project


def find_moments(terminal: Terminal, pattern: str) -> list[int]:
    return [place for place, line in enumerate(terminal.lines) if re.search(pattern, line)]


@pytest.mark.slow
def test_a_terminal_shows_bars_while_stages_sample_judge_and_train_and_one_line_of_each_asset(
    tiny: Path,
) -> None:
    """The bars have moved before the asset's own line comes, and the terminal may change its width meanwhile."""
    with open_terminal("run", "reward_model", "--project", str(tiny)) as terminal:
        terminal.read_until("^judgements: computed")
        num_wide = len(terminal.lines)
        terminal.resize(60)
        # So few pairs may teach nothing, and then a check fails.
        assert terminal.read_to_the_end() in (0, 2)
    for asset, what in (
        ("sampled_responses", "responses"),
        ("judgements", "verdicts of"),
        ("reward_model", "reward model steps"),
    ):
        (ended,) = find_moments(terminal, f"^{asset}: computed")
        heads = find_moments(terminal, rf"^\S {asset} +\d+:\d\d:\d\d$")
        assert heads
        assert heads[-1] < ended
        moved = {
            found.group()
            for line in terminal.lines[heads[0] : ended]
            if what in line and (found := re.search(r"\d+/\d+", line))
        }
        assert len(moved) > 1, "\n".join(terminal.lines[heads[0] : ended])
    (ended,) = find_moments(terminal, "^reward_model: computed")
    drawn = terminal.lines[: ended + 1]
    kept = [line for line in drawn if ENDED.match(line)]
    assert len(kept) == len({line.split(":")[0] for line in kept}) == 10
    assert [line for line in drawn if FOREIGN.search(line)] == []
    assert max(map(len, drawn[: num_wide + 20])) <= 80
    assert max(map(len, drawn[num_wide + 20 :])) <= 60


@pytest.mark.slow
def test_a_pipe_gets_a_line_of_each_event_as_it_happens_and_the_results_stay_alone_on_stdout(
    tmp_path: Path,
) -> None:
    project = make_tiny(tmp_path / "project").root
    make_planted(project)
    arguments = ("run", "ai_preferences", "--json", "--project", str(project))
    with open_pipes(*arguments, FORCE_COLOR="1") as process:
        read_line_with(process, "constitution: started")
        assert process.poll() is None
        lines = read_line_with(process, "judgements: started")
        assert process.poll() is None
        stdout, rest = process.communicate()
        assert process.returncode == 0, rest
    printed = ["constitution: started\n", *lines, *rest.splitlines(keepends=True)]
    assets = json.loads(stdout)["assets"]
    assert "ai_preferences" in assets
    for asset, told in assets.items():
        rows = "" if told["rows"] is None else f", {told['rows']:,} rows"
        place = printed.index(f"{asset}: started\n") if asset != "base_policy" else None
        (ended,) = (n for n, line in enumerate(printed) if line.startswith(f"{asset}: computed{rows}, "))
        assert place is None or place < ended
        assert ENDED.match(printed[ended].rstrip("\n"))
    assert "\x1b" not in "".join(line for line in printed if ENDED.match(line.rstrip("\n")))

    again = run_rlaif(*arguments[:3], project=project)
    assert [line.split(",")[0] for line in again.stderr.splitlines() if ENDED.match(line)] == [
        f"{asset}: reused" for asset in assets
    ]


@pytest.mark.slow
def test_a_run_goes_on_where_nobody_reads_its_progress_any_more(tmp_path: Path) -> None:
    project = make_tiny(tmp_path / "project").root
    with open_pipes("run", "prompts", "constitution", "--project", str(project)) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.stdout is not None
        assert "constitution" in process.stdout.read()
        assert process.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["audit"],
        ["push"],
        ["pull"],
        ["gc", "--keep", "releases"],
        ["checkout", "constitution", "../copy"],
        ["judge-audit", "verdicts.jsonl"],
        ["canary"],
    ],
    ids=lambda command: command[0],
)
def test_every_other_command_that_may_work_for_long_shows_that_it_works(
    planted: Path, command: list[str]
) -> None:
    with open_terminal(*command, "--project", str(planted), cwd=planted) as terminal:
        assert terminal.read_to_the_end() == 0, terminal.lines
    assert find_moments(terminal, rf"^\S rlaif {command[0]} +0:\d\d:\d\d$")
    assert [line for line in terminal.lines if FOREIGN.search(line)] == []


PRINTING = """\
import os, subprocess, sys
from dataclasses import replace
from pathlib import Path
from rlaif_dagster.defs.execution import run_assets
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.progress import ignore_progress

project = Project.open(Path(sys.argv[1]))
graph = project.build_graph()
stage = graph["constitution"]

def compute(context, spec):
    print("printed by python")
    print("printed to the error stream", file=sys.stderr)
    os.write(1, b"written by a library\\n")
    subprocess.run(["echo", "said by a child"], check=True)
    return stage.compute(context)

print("before")
printing = replace(stage, computing=replace(stage.computing, compute=compute))
run_assets(project, {**graph, "constitution": printing}, ["constitution"], progress=ignore_progress)
print("after")
"""


@pytest.mark.slow
def test_what_a_stage_prints_is_kept_with_the_run_for_the_ui_and_is_not_on_the_terminal(
    tmp_path: Path,
) -> None:
    project = make_tiny(tmp_path / "project").root
    done = subprocess.run(
        [sys.executable, "-c", PRINTING, str(project)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "before\nafter\n"
    assert done.stderr == ""
    (out,) = project.glob(".dagster/storage/*/compute_logs/*.out")
    assert sorted(out.read_text().splitlines()) == [
        "printed by python",
        "said by a child",
        "written by a library",
    ]
    (err,) = project.glob(".dagster/storage/*/compute_logs/*.err")
    assert "printed to the error stream" in err.read_text()


def test_a_log_gets_a_line_of_long_work_when_a_tenth_is_done_and_half_a_minute_is_over() -> None:
    """Whichever is later; by hand: at 10 s and 20 s it is too early, at 40 s too little is done, at 50 s 12 % are."""
    clock = [0.0]
    printed = io.StringIO()
    with Lines(Console(file=printed), clock=lambda: clock[0]) as lines:
        lines.start_asset("judgements")
        for clock[0], done in (
            (0.0, 1),
            (10.0, 5),
            (20.0, 8),
            (40.0, 9),
            (50.0, 12),
            (79.0, 50),
            (81.0, 51),
            (200.0, 100),
        ):
            lines("verdicts", done, 100, "0.10 USD")
        lines.finish_asset("judgements", "computed", 1234)
        lines.start_asset("judge_audit")
        lines.finish_asset("judge_audit", "reused", 1)
    assert LINE_SECONDS == 30
    assert printed.getvalue().splitlines() == [
        "judgements: started",
        "judgements: verdicts, 12 of 100 (12 %), 0.10 USD",
        "judgements: verdicts, 51 of 100 (51 %), 0.10 USD",
        "judgements: computed, 1,234 rows, 200.0 s",
        "judge_audit: started",
        "judge_audit: reused, 1 row, 0.0 s",
    ]


def test_a_narrow_terminal_cuts_notes_and_kinds_of_work_but_no_number_and_no_name_of_an_asset() -> None:
    drawn = io.StringIO()
    asset, judge = "round_2/best_of_n/sampled_responses", "openai:meta-llama/Llama-3.3-70B-Instruct[fp8]"
    with Bars(Console(file=drawn, width=80, force_terminal=True, color_system=None), "rlaif run") as bars:
        bars.start_asset(asset)
        bars(f"verdicts of {judge}", 1200, 10800, "1,200 calls, 123,456 tokens, 12.3456 USD")
        bars._live.refresh()
        bars.finish_asset(asset, "computed", 10800)
    lines = Terminal(None, -1, drawn.getvalue().encode()).lines  # type: ignore[arg-type]
    assert any(re.match(rf"^\S {asset} +\d:\d\d:\d\d$", line) for line in lines)
    bar = next(line for line in lines if "verdicts of" in line)
    assert "1200/10800" in bar
    assert "…" in bar
    assert max(map(len, lines)) <= 80
    assert f"{asset}: computed, 10,800 rows, 0.0 s" in lines
