"""Bad input: a message with file, place, what was got and the remedy; exit code 2; nothing changed."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.lineage.project import Project
from tests.conftest import call_rlaif, run_rlaif

Edit = Callable[[Path], None]


def write(name: str, text: str) -> Edit:
    def edit(project: Path) -> None:
        (project / "inputs" / name).write_text(text)

    return edit


def replace(name: str, old: str, new: str) -> Edit:
    def edit(project: Path) -> None:
        file = project / "inputs" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return edit


def append(name: str, text: str) -> Edit:
    def edit(project: Path) -> None:
        with (project / "inputs" / name).open("a") as stream:
            stream.write(text)

    return edit


PRINCIPLE = "- id: {}\n  text: {}\n"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(
            lambda project: (project / "inputs" / "constitution.yaml").unlink(),
            ["inputs/constitution.yaml", "does not exist", "rlaif init"],
            id="missing file",
        ),
        pytest.param(
            write("constitution.yaml", "principles: [\n"),
            ["inputs/constitution.yaml, line 2", "not valid YAML"],
            id="invalid YAML",
        ),
        pytest.param(
            append("pipeline.yaml", "smapling: {}\n"),
            ["inputs/pipeline.yaml, line", "'smapling'", "unknown field", "spelling"],
            id="unknown key",
        ),
        pytest.param(
            write("constitution.yaml", "principles: []\n"),
            ["inputs/constitution.yaml, line 1", "the constitution is empty"],
            id="empty constitution",
        ),
        pytest.param(
            write(
                "constitution.yaml", "principles:\n" + PRINCIPLE.format("a", "x") + PRINCIPLE.format("a", "y")
            ),
            ["inputs/constitution.yaml", "two principles have the id 'a'"],
            id="duplicate principle",
        ),
        pytest.param(
            replace("constitution.yaml", "weight: 3", "weight: -3"),
            ["inputs/constitution.yaml, line", "principles[0].weight", "got -3"],
            id="negative weight",
        ),
        pytest.param(
            append("prompts.jsonl", '{"prompt": ""}\n'),
            ["inputs/prompts.jsonl, line 181", "the prompt is empty"],
            id="empty prompt",
        ),
        pytest.param(
            append("prompts.jsonl", '{"prompt": "a"\n'),
            ["inputs/prompts.jsonl, line 181", "not valid JSON", '{"prompt": "a"'],
            id="bad JSON",
        ),
        pytest.param(
            replace("pipeline.yaml", "embedded:policy", "models/gone"),
            ["inputs/pipeline.yaml", "base_policy.model", "models/gone", "path"],
            id="unknown model folder",
        ),
        pytest.param(
            replace("pipeline.yaml", "embedded:policy", "some/model"),
            ["inputs/pipeline.yaml", "base_policy.model", "some/model", "set `revision`", "40-digit commit"],
            id="hub model without a revision",
        ),
        pytest.param(
            replace("pipeline.yaml", "embedded:policy", "some/model\n  revision: main"),
            ["inputs/pipeline.yaml", "base_policy.revision", "'main'", "40-digit commit"],
            id="hub model at a branch",
        ),
        pytest.param(
            replace("judge.yaml", "embedded:judge", "embedded:jugde"),
            ["inputs/judge.yaml", "'model'", "embedded:jugde", "embedded:judge"],
            id="unknown embedded model",
        ),
        pytest.param(
            replace("judge.yaml", "provider: local", "provider: locl"),
            ["inputs/judge.yaml", "locl", "jury, local, openai, planted, recorded"],
            id="unknown provider",
        ),
        pytest.param(
            replace("judge.yaml", "template: compact", "template: ../template.yaml"),
            ["template", "outside the project"],
            id="a path that leads outside",
        ),
    ],
)
def test_bad_input_is_explained_and_changes_nothing(
    default_project: Path, edit: Edit, words: list[str]
) -> None:
    edit(default_project)
    before = snapshot(default_project)
    done = call_rlaif("run", project=default_project)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert snapshot(default_project) == before


def test_an_unknown_asset_is_explained(default_project: Path) -> None:
    done = call_rlaif("run", "prompst", project=default_project)
    assert done.returncode == 2
    assert "there is no asset 'prompst'" in done.stderr
    assert "sampled_responses" in done.stderr


def test_a_folder_that_is_no_project_is_explained(tmp_path: Path) -> None:
    for command in ("run", "status", "chat", "ui"):
        done = call_rlaif(command, project=tmp_path)
        assert done.returncode == 2
        assert "rlaif init DIR" in done.stderr


def test_init_refuses_a_folder_that_holds_something(default_project: Path) -> None:
    done = call_rlaif("init", ".", project=default_project)
    assert done.returncode == 2
    assert "the folder is not empty" in done.stderr


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two assets; work on a copy."""
    project = tmp_path_factory.mktemp("begun") / "project"
    init_command(project)
    run_rlaif("run", "prompts", "constitution", project=project)
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ("max_bytes", "words"),
    [pytest.param(2_000_000, "base_policy", id="weights"), pytest.param(50_000, "Dagster", id="event log")],
)
def test_a_full_disk_is_explained_and_leaves_nothing_half_written(
    begun: Path, tmp_path: Path, max_bytes: int, words: str
) -> None:
    """The kernel refuses to write further into any file (RLIMIT_FSIZE), as a full disk does."""
    project = Path(shutil.copytree(begun, tmp_path / "project"))
    assert Project.open(project).store  # a project that moved notes its new place
    before = snapshot(project)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rlaif_dagster.cli.main",
            "run",
            "base_policy",
            "--project",
            str(project),
        ],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "DAGSTER_HOME": str(project.parent / "dagster")},
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "remedy: free disk space" in done.stderr
    assert snapshot(project) == before
    assert not (project / "data" / "base_policy").exists()
    run_rlaif("run", "base_policy", project=project)
    assert (project / "data" / "base_policy" / "model.safetensors").is_file()


def snapshot(project: Path) -> dict[str, bytes]:
    """Everything that a person or a later run can see: not locks, scratch and Dagster's own log."""
    own = {".rlaif", ".dagster"}
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and not own & set(path.relative_to(project).parts)
    }
