"""The examples are read by the code that reads a project's files, and the snippets compute what the package does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.generation.samplers.recorded import RecordedResponseLine, import_responses
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.overrides import OverridesFile
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JudgeFile, ProjectInputs
from rlaif_dagster.inputs.release import ReleaseFile
from rlaif_dagster.judging.constitution import ConstitutionSettings
from rlaif_dagster.judging.human import HumanLine
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.recorded import RecordedLine, read_recorded_verdicts
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.prompts import PromptLine, identify_prompt
from rlaif_dagster.reader import read_jsonl, read_yaml
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.versioning.pin import read_pinned_md5
from rlaif_dagster.versioning.store import init_store
from tests.docs.conftest import WriteProject
from tests.docs.pages import PAGES, REPOSITORY, Example, read_examples, read_page
from tests.plain_stages import make_plain_stage

SCHEMAS: dict[str, type[BaseModel]] = {
    "inputs/constitution.yaml": ConstitutionSettings,
    "inputs/judge.yaml": JudgeFile,
    "inputs/overrides.yaml": OverridesFile,
    "inputs/pipeline.yaml": PipelineSettings,
    "inputs/prompts.jsonl": PromptLine,
    "inputs/release.yaml": ReleaseFile,
    "inputs/responses.jsonl": RecordedResponseLine,
    "inputs/verdicts.jsonl": RecordedLine,
    "inputs/labels.jsonl": HumanLine,
}
EXAMPLES = [example for page in PAGES for example in read_examples(page)]
INPUT_FILES = [example for example in EXAMPLES if example.label in SCHEMAS]
RECORDED_DATA = "Example: recorded data"
LOCAL_FOLDER = "Example: a policy in a local folder"


def find_example(label: str) -> Example:
    return next(example for example in EXAMPLES if example.label == label)


def run_snippet(label: str) -> dict[str, Any]:
    """Runs a Python example and returns the names that it leaves."""
    names: dict[str, Any] = {}
    exec(compile(find_example(label).text, label, "exec"), names)  # noqa: S102 - our own page
    return names


def test_every_example_of_a_file_says_which_file_it_is() -> None:
    """So none escapes the tests below."""
    labels = {example.label for example in EXAMPLES if example.language in ("yaml", "json", "jsonl")}
    assert labels == {
        *SCHEMAS,
        "judge template",
        "data.dvc",
        "inputs/accelerate.yaml",  # used in training/test_launch
        "dagster.yaml",
        "judge.yaml of a plug-in",  # used in test_extending
    }


@pytest.mark.parametrize(
    "example", INPUT_FILES, ids=[f"{example.page}-{example.label}" for example in INPUT_FILES]
)
def test_an_example_fits_the_schema_of_its_file(example: Example, tmp_path: Path) -> None:
    file = tmp_path / Path(example.label).name
    file.write_text(example.text, encoding="utf-8")
    if file.suffix == ".yaml":
        read_yaml(file, SCHEMAS[example.label])
    else:
        assert list(read_jsonl(file, SCHEMAS[example.label]))


def test_the_example_of_a_judge_template_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(find_example("judge template").text, encoding="utf-8")
    assert load_template("mine.yaml", tmp_path).verdicts == {"first": "1", "second": "2"}


def test_the_example_of_data_dvc_is_one(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text(find_example("data.dvc").text)
    assert str(read_pinned_md5(tmp_path / "data.dvc")).endswith(".dir")


def test_the_storage_in_postgresql_fits_the_lock() -> None:
    """Releases of dagster and its libraries belong together: 1.13.27 and 0.29.27."""
    postgres = yaml.safe_load(find_example("dagster.yaml").text)["storage"]["postgres"]["postgres_db"]
    assert postgres["scheme"] == "postgresql+psycopg2"
    lock = (REPOSITORY / "requirements.lock").read_text()
    match = re.search(r"^dagster==1\.(\d+)\.(\d+)$", lock, re.MULTILINE)
    assert match is not None
    minor, patch = map(int, match.groups())
    assert f" dagster-postgres==0.{minor + 16}.{patch} psycopg2-binary\n" in read_page("operating.md")


def test_the_recorded_data_are_a_project(write_project: WriteProject) -> None:
    """The example's files fit each other: each response finds its prompt, each verdict its responses."""
    inputs = ProjectInputs.read(write_project(read_examples("inputs.md", below=RECORDED_DATA)))
    assert inputs.responses is not None
    assert inputs.verdicts is not None
    prompts = [{"prompt_id": identify_prompt(line.prompt)} for line in inputs.prompt_lines]
    responses = import_responses(inputs.responses.path, prompts)
    verdicts = read_recorded_verdicts(
        inputs.verdicts.path, responses.rows, principle_ids=inputs.constitution.weights
    )
    assert (len(responses.rows), len(verdicts.pairs)) == (4, 2)
    assert verdicts.by_status == {"ok": 3, "unparsed": 1}


@pytest.mark.parametrize(
    "heading", [LOCAL_FOLDER, "Example: a real judge", "Example: a Hugging Face policy with LoRA and bf16"]
)
def test_the_other_examples_are_projects_too(write_project: WriteProject, heading: str) -> None:
    """Laid over the recorded data, which give what they leave out; nothing is downloaded to read them."""
    root = write_project(
        [*read_examples("inputs.md", below=RECORDED_DATA), *read_examples("inputs.md", below=heading)]
    )
    assert ProjectInputs.read(root).base_policy.name


def test_the_snippet_digests_a_folder_as_the_package_does(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    for name, text in (("z.txt", "1"), ("a b/é.json", "{}"), ("a.txt", "")):
        (tmp_path / name).write_text(text)
    digest = run_snippet("digest a folder")["digest_folder"](tmp_path)
    assert digest == str(FolderManifest.from_folder(tmp_path).digest)


def test_the_snippet_makes_keys_as_the_package_does(tmp_path: Path) -> None:
    names = run_snippet("keys")
    prompt_id = identify_prompt(names["prompt"])
    file = tmp_path / "responses.jsonl"
    lines = [
        {"prompt_id": prompt_id, "source": s, "text": t} for s, t in (("quick", "4/9."), ("curt", "3/7."))
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = import_responses(file, [{"prompt_id": prompt_id}]).rows
    verdicts = tmp_path / "verdicts.jsonl"
    ids = sorted(row["response_id"] for row in rows)
    verdicts.write_text(
        json.dumps({"response_a": ids[0], "response_b": ids[1], "order": "ab", "verdict": "tie"})
    )
    verdict = read_recorded_verdicts(verdicts, rows).verdicts[0]
    assert names["prompt_id"] == prompt_id
    assert names["pair_id"] == Pair.from_responses(prompt_id, ids[1], ids[0]).pair_id == verdict.pair_id
    assert names["verdict_id"] == verdict.verdict_id
    assert names["seed"] == derive_seed(17, "split", "which is larger 3 7 or 4 9")


def test_the_snippet_finds_a_changed_and_a_missing_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_store(tmp_path)
    project = Project.open(tmp_path)
    for name in ("a", "b"):
        materialise(project, _make_stage(name), progress=ignore_progress)
    monkeypatch.chdir(tmp_path)
    run_snippet("check the ledger")
    first, second = project.ledger.records()
    file = tmp_path / "lineage" / f"{first.record_id}.json"
    data = file.read_bytes()
    file.unlink()
    with pytest.raises(AssertionError, match="is missing"):
        run_snippet("check the ledger")
    file.write_bytes(data.replace(b'"a"', b'"c"'))
    with pytest.raises(AssertionError, match="was changed"):
        run_snippet("check the ledger")
    assert second.previous == (first.record_id,)


def _make_stage(name: str) -> Stage:
    def compute(context: StageContext) -> StageResult:
        (context.output / "text").write_text(name)
        return StageResult()

    return make_plain_stage(name, compute)
