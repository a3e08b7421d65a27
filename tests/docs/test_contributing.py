"""What CONTRIBUTING.md says of the repository is so, and its worked examples work."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rlaif_dagster.cli.init import init_command
from rlaif_dagster.graph.learning import read_training
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.names import PROMPTS_TABLE, RESPONSES_TABLE
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.tables import read_table
from tests.conftest import LONGEST, edit_yaml, make_small
from tests.docs.pages import REPOSITORY
from tests.docs.test_pages import find_anchors

PAGE = REPOSITORY / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| (an? [\w ]+) \| `[^`]+` \| (\d)(?:: ([^|]+))? \| (\d)(?:: ([^|]+))? \|$", re.MULTILINE
)
ROWS = _ROW.findall(TEXT)


def test_the_table_names_each_kind_of_thing() -> None:
    assert [kind for kind, *_ in ROWS] == [
        "an input field",
        "a check",
        "a command",
        "a policy method",
        "a judge provider",
        "an asset",
        "a judge template",
        "a proof",
        "a page",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_example_names_as_many_files_as_it_says_and_they_exist(row: tuple[str, ...]) -> None:
    _, num_inside, inside, num_beside, beside = row
    package = REPOSITORY / "rlaif_dagster"
    for number, text, root in ((num_inside, inside, package), (num_beside, beside, REPOSITORY)):
        files = re.findall(r"`([^`]+)`", text)
        assert len(files) == int(number)
        assert [name for name in files if not (root / name).is_file()] == []


def test_the_files_that_start_first_exist() -> None:
    assert [name for name in LONGEST if not (REPOSITORY / name).is_file()] == []


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        path = REPOSITORY / file if file else PAGE
        assert path.exists(), target
        assert not anchor or anchor in find_anchors(path), target


MOST_FILES: Final = {
    "A check": 1,
    "A command": 1,
    "A policy method": 1,
    "A sampler": 1,
    "An asset": 3,
}
"""How many files of the package a worked example takes at most."""
_BLOCK = re.compile(r"^```(python|diff) (rlaif_dagster/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Edit:
    """A new file, or what is added to one."""

    language: str
    path: str
    text: str

    def apply(self, root: Path) -> None:
        file = root / self.path
        if self.language == "python":
            assert not file.exists(), f"{self.path} exists already"
            file.write_text(self.text, encoding="utf-8")
            return
        for hunk in self.text.split("...\n"):
            lines = hunk.splitlines(keepends=True)
            assert {line[0] for line in lines} <= {" ", "+", "-"}
            before, after = ("".join(line[1:] for line in lines if line[0] != mark) for mark in "+-")
            text = file.read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{self.path} does not hold once:\n{before}"
            file.write_text(text.replace(before, after), encoding="utf-8")


def read_worked_examples() -> dict[str, list[Edit]]:
    """The edits of each worked example, by its heading."""
    _, _, text = TEXT.partition("\n## Worked examples\n")
    parts = re.split(r"^### (.*)\n", text.partition("\n## ")[0], flags=re.MULTILINE)[1:]
    return {
        heading: [Edit(*found) for found in _BLOCK.findall(part)]
        for heading, part in zip(parts[::2], parts[1::2], strict=True)
    }


def test_a_worked_example_takes_no_more_files_than_it_may() -> None:
    num_files = {
        heading: len({one.path for one in edits}) for heading, edits in read_worked_examples().items()
    }
    assert num_files.keys() == MOST_FILES.keys()
    assert all(0 < number <= MOST_FILES[heading] for heading, number in num_files.items()), num_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """A copy of the package with every worked example in it, and a project that was run by it."""

    root: Path
    project: Path
    heads: Mapping[str, MaterialisationRecord]


def call_copy(root: Path, *arguments: str) -> str:
    """Runs the `rlaif` command of a copy of the package."""
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "rlaif_dagster.cli.main", *arguments],
        cwd=root,
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    folder = tmp_path_factory.mktemp("extended")
    root, project = folder / "copy", folder / "project"
    shutil.copytree(REPOSITORY / "rlaif_dagster", root / "rlaif_dagster")
    for edits in read_worked_examples().values():
        for edit in edits:
            edit.apply(root)
    init_command(project)
    make_small(project)
    judge = {"provider": "planted", "preference": "embedded_world", "template": "compact"}
    (project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    edit_yaml(
        project / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(
            num_longest_prompts=3,
            sampling={"provider": "first_sentence", "num_samples": 4},
            pairing={"max_pairs_per_prompt": 3},
            reward_model={"learning_rate": 1e-3, "num_epochs": 2.0, "batch_size": 16},
            policy={"method": "chosen", "learning_rate": 3e-4, "max_steps": 4, "checkpoint_steps": 2},
        ),
    )
    call_copy(root, "run", "aligned_policy", "longest_prompts", "--project", str(project))
    return Extended(root=root, project=project, heads=Project.open(project).ledger.find_heads())


@pytest.mark.slow
def test_the_worked_check_is_asked(extended: Extended) -> None:
    checks = {check.name: check for check in extended.heads["sampled_responses"].checks}
    rows = read_table(extended.project / "data" / "sampled_responses" / RESPONSES_TABLE)
    num_repeated = len(rows) - len({(row["prompt_id"], row["text"]) for row in rows})
    assert checks["no_answer_twice"].facts == {"num_repeated": num_repeated}
    assert checks["no_answer_twice"].passed == (num_repeated == 0)


@pytest.mark.slow
def test_the_worked_command_is_listed_and_runs(extended: Extended) -> None:
    assert re.search(
        r"^.? *principles +List the principles", call_copy(extended.root, "--help"), re.MULTILINE
    )
    said = call_copy(extended.root, "principles", "--project", str(extended.project)).splitlines()
    principles = ProjectInputs.read(TEMPLATE_ROOT).constitution.principles
    assert said == [f"{one.id} ({one.weight:g}): {one.text}" for one in principles]


@pytest.mark.slow
def test_the_worked_method_trains(extended: Extended) -> None:
    record = extended.heads["aligned_policy"]
    training = read_training(extended.project / "data" / "aligned_policy")
    rows = read_preferences(extended.project / "data" / "ai_preferences", "train")
    assert record.counts["num_train_answers"] == sum(row["p_a"] != 0.5 for row in rows) > 100
    assert [step["step"] for step in training["steps"]] == [1, 2, 3, 4]
    assert [point["step"] for point in training["checkpoints"]] == [0, 2, 4]


@pytest.mark.slow
def test_the_worked_sampler_samples(extended: Extended) -> None:
    rows = read_table(extended.project / "data" / "sampled_responses" / RESPONSES_TABLE)
    assert len(rows) == 4 * 100
    assert {row["source"] for row in rows} == {extended.heads["base_policy"].output.digest}
    assert {row["text"].count(".") for row in rows} == {1}


@pytest.mark.slow
def test_the_worked_asset_is_made_and_its_setting_is_in_its_recipe(extended: Extended) -> None:
    prompts = [row["prompt"] for row in read_table(extended.project / "data" / "prompts" / PROMPTS_TABLE)]
    longest = json.loads((extended.project / "data" / "longest_prompts" / "longest.json").read_text())
    assert longest == sorted(prompts, key=lambda text: (-len(text), text))[:3]
    assert extended.heads["longest_prompts"].recipe_parts.settings == {"num_prompts": 3}
