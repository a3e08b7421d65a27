"""An error that nobody foresaw is one line, with a log that holds the rest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif_dagster.cli.unexpected import MAX_LOGS

IN_COMMAND = """
from rlaif_dagster.cli.command import ProjectOption
from rlaif_dagster.cli.main import app, main

@app.command()
def crash(project: ProjectOption) -> None:
    raise KeyError("first line\\nsecond line")

main()
"""
IN_ASSET = """
import dagster
from rlaif_dagster.cli.command import ProjectOption
from rlaif_dagster.cli.main import app, main
from rlaif_dagster.errors import JudgeError

@dagster.asset
def sampled_responses() -> None:
    raise {error}

@app.command()
def crash(project: ProjectOption) -> None:
    quiet = {{"loggers": {{"console": {{"config": {{"log_level": "CRITICAL"}}}}}}}}
    job = dagster.Definitions(assets=[sampled_responses]).resolve_implicit_global_asset_job_def()
    job.execute_in_process(run_config=quiet)

main()
"""
IN_RESOURCE = """
import dagster
from rlaif_dagster.cli.command import ProjectOption
from rlaif_dagster.cli.main import app, main
from rlaif_dagster.errors import JudgeError

@dagster.resource
def opened(_context: dagster.InitResourceContext) -> None:
    raise {error}

@dagster.asset(required_resource_keys={{"opened"}})
def judgements() -> None: ...

@app.command()
def crash(project: ProjectOption) -> None:
    quiet = {{"loggers": {{"console": {{"config": {{"log_level": "CRITICAL"}}}}}}}}
    definitions = dagster.Definitions(assets=[judgements], resources={{"opened": opened}})
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(run_config=quiet)

main()
"""
JUDGE_ERROR = 'JudgeError("the judge is away.\\n  remedy: wait")'


def run_crash(
    code: str, project: Path, *, debug: bool = False, temp: Path | None = None
) -> subprocess.CompletedProcess[str]:
    file = project.parent / "crashing.py"
    file.write_text(code)
    return subprocess.run(
        [sys.executable, file, "crash", "--project", project],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            **({"RLAIF_DEBUG": "1"} if debug else {}),
            **({"TMPDIR": str(temp)} if temp else {}),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )


def find_log(line: str) -> Path:
    found = re.search(r"this log: (.*)$", line)
    assert found
    return Path(found[1])


def test_a_command_that_fails_unexpectedly_says_one_line_and_keeps_the_traceback(
    default_project: Path,
) -> None:
    done = run_crash(IN_COMMAND, default_project)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"unexpected error: KeyError: 'first line\\nsecond line', at {default_project.parent}/crashing.py:7; report "
    )
    assert "rlaif-dagster 0." in line
    assert "transformers 5." in line
    log = find_log(line)
    assert log.parent == default_project / ".rlaif" / "errors"
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert 'raise KeyError("first line' in text
    assert "numpy 2." in text
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "step"),
    [(IN_ASSET, " in sampled_responses"), (IN_RESOURCE, "")],
    ids=["asset", "resource, before any step"],
)
def test_an_error_inside_dagster_names_the_step_and_its_own_line(
    default_project: Path, code: str, step: str
) -> None:
    done = run_crash(code.format(error="KeyError('past_key_values')"), default_project)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    raised = 1 + code.splitlines().index("    raise {error}")
    assert line.startswith(
        f"unexpected error: KeyError: 'past_key_values'{step}, "
        f"at {default_project.parent}/crashing.py:{raised}; "
    ), line


@pytest.mark.slow
@pytest.mark.parametrize("code", [IN_ASSET, IN_RESOURCE], ids=["asset", "resource"])
def test_an_error_of_ours_that_dagster_wraps_is_the_usual_message(default_project: Path, code: str) -> None:
    done = run_crash(code.format(error=JUDGE_ERROR), default_project)
    assert (done.returncode, done.stderr) == (2, "error: the judge is away.\n  remedy: wait\n")
    assert not (default_project / ".rlaif" / "errors").exists()


def test_errors_that_name_each_other_as_their_cause_are_reported(default_project: Path) -> None:
    code = IN_COMMAND.replace(
        "    raise KeyError",
        "    first, second = KeyError('first'), ValueError('second')\n"
        "    first.__context__, second.__cause__ = second, first\n"
        "    raise first\n"
        "    raise KeyError",
    )
    done = run_crash(code, default_project)
    assert done.returncode == 1
    assert done.stderr.startswith("unexpected error: KeyError: 'first', at ")


def test_without_a_project_the_log_goes_to_the_temporary_folder(tmp_path: Path) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    done = run_crash(IN_COMMAND, tmp_path / "nowhere", temp=temp)
    assert find_log(done.stderr.rstrip("\n")).parent == temp


def test_only_the_newest_logs_are_kept(default_project: Path) -> None:
    folder = default_project / ".rlaif" / "errors"
    folder.mkdir(parents=True)
    for number in range(MAX_LOGS + 3):
        old = folder / f"rlaif-error-old_{number:04}.log"
        old.write_text("old")
        os.utime(old, (number, number))
    others = [folder / "rlaif-error-of-mine.log", folder / "rlaif-error-00000000.log"]
    others[0].write_text("a person's own")
    others[1].symlink_to(folder / "nothing is here")
    done = run_crash(IN_COMMAND, default_project)
    kept = sorted(set(folder.iterdir()) - set(others))
    assert len(kept) == MAX_LOGS
    assert find_log(done.stderr.rstrip("\n")) in kept
    assert folder / "rlaif-error-old_0000.log" not in kept
    assert others[0].read_text() == "a person's own"


@pytest.mark.parametrize("place", [".rlaif", ".rlaif/errors"])
def test_no_log_is_written_or_removed_through_a_link(default_project: Path, place: str) -> None:
    link, temp = default_project / place, default_project.parent / "temp"
    theirs = default_project.parent / "theirs"
    for folder in (temp, theirs, link.parent):
        folder.mkdir(exist_ok=True)
    shutil.rmtree(link, ignore_errors=True)
    link.symlink_to(theirs)
    for number in range(MAX_LOGS + 3):
        (theirs / f"rlaif-error-old_{number:04}.log").write_text("theirs")
    done = run_crash(IN_COMMAND, default_project, temp=temp)
    assert find_log(done.stderr.rstrip("\n")).parent == temp
    assert len(list(theirs.iterdir())) == MAX_LOGS + 3


def test_the_debug_variable_shows_the_traceback(default_project: Path) -> None:
    done = run_crash(IN_COMMAND, default_project, debug=True)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
