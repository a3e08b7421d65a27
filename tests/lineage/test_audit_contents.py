"""Sound bytes under a wrong name: the planted faults, and what must not be taken for one."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.generation.responses import responses_schema
from rlaif_dagster.judging.verdicts import judgements_schema
from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.names import JUDGE_JSON, JUDGE_VERDICTS, JUDGEMENTS_TABLE, RESPONSES_TABLE
from rlaif_dagster.tables import write_table
from tests.conftest import REPOSITORY, edit_yaml

from .audited_projects import audit, make_stage, make_text_stage, run

LONG = "An answer that is long enough for nobody to arrive at the same one without looking, number {}."


def find(project: Project, kind: str) -> list[Finding]:
    """The findings of a kind; the audit has no others."""
    findings = audit(project.root).findings
    assert {finding.kind for finding in findings} <= {kind}
    return list(findings)


# --- two assets with the same bytes ---


def make_model(
    project: Project, name: str, weights: str, inputs: Iterable[str] = (), config: str = "{}"
) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(weights)
        (folder / "config.json").write_text(config)

    run(project, make_stage(name, write, setting=name + weights + config, inputs=inputs))


def test_a_policy_that_came_out_as_its_base_is_found(project: Project) -> None:
    make_model(project, "base_policy", "w")
    make_model(project, "aligned_policy", "w", ["base_policy"])
    [finding] = find(project, "same-bytes")
    assert finding.place.startswith("aligned_policy@")
    assert finding.place.endswith(" all files")
    assert "as in base_policy@" in finding.found


def test_weights_are_compared_even_where_the_settings_beside_them_differ(project: Project) -> None:
    make_model(project, "base_policy", "w")
    make_model(project, "aligned_policy", "w", ["base_policy"], config='{"name": "aligned"}')
    [finding] = find(project, "same-bytes")
    assert finding.place.endswith(" model.safetensors")


def test_shared_settings_of_different_models_are_no_finding(project: Project) -> None:
    make_model(project, "base_policy", "w")
    make_model(project, "aligned_policy", "v", ["base_policy"])
    assert find(project, "same-bytes") == []


def test_one_model_brought_twice_is_no_finding(project: Project) -> None:
    """A person may judge with the model that is trained."""
    make_model(project, "base_policy", "w")
    make_model(project, "judge", "w")
    assert find(project, "same-bytes") == []


def test_a_result_that_is_brought_back_as_a_source_is_no_finding(project: Project) -> None:
    """Yesterday's aligned policy is today's base."""
    make_model(project, "base_policy", "w")
    make_model(project, "aligned_policy", "v", ["base_policy"])
    make_model(project, "base_policy", "v")
    assert find(project, "same-bytes") == []


def test_versions_of_one_asset_may_be_the_same(project: Project) -> None:
    """Early cutoff, and a reused version."""
    make_model(project, "a", "w")
    for setting in ("x", "y", "x"):
        run(
            project,
            make_stage("b", write_constant, setting=setting, inputs=("a",)),
        )
    assert find(project, "same-bytes") == []


def write_constant(folder: Path) -> None:
    (folder / "text").write_text("constant")


def test_assets_of_one_recipe_may_be_the_same_and_others_may_not(project: Project) -> None:
    run(project, make_text_stage("a", "x"))
    run(project, make_stage("b", write_constant, setting="s", inputs=("a",)))
    run(project, make_stage("round_2/b", write_constant, setting="s", inputs=("a",)))
    assert find(project, "same-bytes") == []
    run(project, make_stage("c", write_constant, setting="another", inputs=("a",)))
    assert len(find(project, "same-bytes")) == 2


def test_empty_tables_may_be_the_same(project: Project) -> None:
    run(project, make_text_stage("a", "x"))
    for name in ("b", "c"):
        run(project, make_stage(name, write_constant, setting=name, inputs=("a",), rows=0))
    assert find(project, "same-bytes") == []


# --- names that rows contradict ---


def write_responses(project: Project, texts: Mapping[str, list[str]], inputs: Iterable[str] = ()) -> None:
    rows = [
        {"response_id": f"{source}/{i}", "prompt_id": f"p{i}", "source": source, "index": 0, "text": text}
        for source, said in texts.items()
        for i, text in enumerate(said)
    ]

    def write(folder: Path) -> None:
        write_table(folder / RESPONSES_TABLE, rows, responses_schema())

    run(project, make_stage("sampled_responses", write, setting=str(rows), inputs=inputs))


def test_responses_of_another_policy_than_recorded_are_found(project: Project) -> None:
    make_model(project, "base_policy", "w")
    run(project, make_text_stage("prompts", "x"))
    digest = project.ledger.find_heads()["base_policy"].output.digest
    write_responses(project, {digest: ["x"]}, ["prompts", "base_policy"])
    assert find(project, "name-contradicted") == []
    write_responses(project, {"sha256:" + "0" * 64: ["x"]}, ["prompts", "base_policy"])
    [finding] = find(project, "name-contradicted")
    assert finding.place.endswith(f"{RESPONSES_TABLE}, column source")
    assert finding.found == "sha256:" + "0" * 64
    assert digest in finding.expected


def test_recorded_responses_may_name_any_source(project: Project) -> None:
    run(project, make_text_stage("prompts", "x"))
    write_responses(project, {"gpt-4": ["x"], "claude": ["y"]}, ["prompts"])
    assert find(project, "name-contradicted") == []


def test_a_source_whose_answers_are_anothers_is_found(project: Project) -> None:
    said = [LONG.format(i) for i in range(10)]
    write_responses(project, {"one": said, "two": [*said[:9], "its own"], "three": [*said[:8], "its", "own"]})
    [finding] = find(project, "rows-copied")
    assert finding.place.endswith("source 'two'")
    assert finding.found == "9 of 10 rows equal those of 'one'"


def test_short_answers_may_agree(project: Project) -> None:
    write_responses(project, {"one": ["4/9."] * 200, "two": ["4/9."] * 200})
    assert find(project, "rows-copied") == []


# --- verdicts ---


def make_verdicts(judge: str, answers: Iterable[Mapping[str, Any]], *, keys: str) -> list[dict[str, Any]]:
    return [
        {
            "verdict_id": f"{keys}{i}",
            "pair_id": f"pair{i}",
            "prompt_id": f"p{i}",
            "response_a": "a",
            "response_b": "b",
            "order": "ab",
            "principle_id": None,
            "judge": judge,
            "repeat": 0,
            "status": "ok",
            "verdict": "first",
            **{name: value for name, value in answer.items() if name != "raw_text"},
            "answers": [
                {"call_id": f"{keys}{i}", "status": "ok", "text": answer.get("raw_text"), "cut": False}
            ],
        }
        for i, answer in enumerate(answers)
    ]


def write_verdicts(project: Project, rows: list[dict[str, Any]], settings: Mapping[str, Any]) -> None:
    def write_judge(folder: Path) -> None:
        (folder / JUDGE_JSON).write_text(json.dumps(settings))
        if settings["provider"] == "recorded":
            (folder / JUDGE_VERDICTS).touch()

    run(project, make_stage("judge", write_judge, setting=json.dumps(settings)))

    def write(folder: Path) -> None:
        write_table(folder / JUDGEMENTS_TABLE, rows, judgements_schema())

    run(project, make_stage("judgements", write, setting=str(rows), inputs=["judge"]))


FINE = [{"p_first": 0.5 + i / 7919} for i in range(1, 21)]
COARSE = [{"p_first": 0.99, "raw_text": "[[A]]"}] * 20


@pytest.mark.parametrize(
    ("settings", "is_right"),
    [
        ({"provider": "local", "model": "one"}, True),
        ({"provider": "local", "model": "two"}, False),
        ({"provider": "local", "model": "two", "name": "one"}, True),
        ({"provider": "openai", "model": "one", "name": None}, True),
        ({"provider": "openai", "model": "two", "name": None}, False),
        ({"provider": "planted", "name": None}, False),
        ({"provider": "recorded", "name": "one"}, True),
        ({"provider": "recorded", "name": "two"}, False),
        ({"provider": "recorded", "name": None}, True),
    ],
)
def test_verdicts_of_another_judge_than_recorded_are_found(
    project: Project, settings: Mapping[str, Any], is_right: bool
) -> None:
    write_verdicts(project, make_verdicts("one", FINE, keys="k"), settings)
    assert len(find(project, "name-contradicted")) == (not is_right)


@pytest.mark.parametrize(("third", "is_right"), [("three", True), ("other", False)])
def test_verdicts_may_be_of_every_judge_that_the_record_says_was_asked(
    project: Project, third: str, is_right: bool
) -> None:
    """A jury of two, and an independent judge."""

    def write_jury(folder: Path) -> None:
        (folder / JUDGE_JSON).write_text('{"provider": "jury"}')
        for place, name in enumerate(("one", "two")):
            (folder / "judges" / str(place)).mkdir(parents=True)
            settings = {"provider": "openai", "model": "m", "name": name}
            (folder / "judges" / str(place) / JUDGE_JSON).write_text(json.dumps(settings))

    rows = [
        row
        for place, judge in enumerate(("one", "two", third))
        for row in make_verdicts(
            judge, [{"p_first": 0.1 * place + a["p_first"] / 2} for a in FINE], keys=judge
        )
    ]
    run(project, make_stage("judge", write_jury))
    independent = {"provider": "planted", "name": "three"}
    run(
        project,
        make_stage(
            "evaluation_judge",
            lambda folder: (folder / JUDGE_JSON).write_text(json.dumps(independent)),
        ),
    )
    run(
        project,
        make_stage(
            "evaluation",
            lambda folder: write_table(folder / JUDGEMENTS_TABLE, rows, judgements_schema()),
            inputs=["judge", "evaluation_judge"],
        ),
    )
    found = find(project, "name-contradicted")
    assert [finding.found for finding in found] == ["one, other, two"] * (not is_right)
    if found:
        assert found[0].expected.startswith("one, three, two, ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "others", "is_copy"),
    [
        pytest.param(FINE, FINE, True, id="the same probabilities"),
        pytest.param(FINE, [{"p_first": 0.3}, *FINE[1:]], True, id="all but one"),
        pytest.param(FINE, [{"p_first": a["p_first"] + 1e-6} for a in FINE], False, id="near, not equal"),
        pytest.param(FINE[:4], FINE[:4], False, id="too few to tell"),
        pytest.param([{"raw_text": LONG.format(i)} for i in range(9)], None, True, id="the same words"),
        pytest.param(COARSE, COARSE, False, id="rounded and short"),
        pytest.param([{"p_first": 0.999999}] * 50, None, False, id="both are sure"),
        pytest.param([{}] * 99, None, False, id="bare verdicts, few"),
        pytest.param([{}] * 100, None, True, id="bare verdicts, many"),
        pytest.param([{}] * 100, [*[{}] * 99, {"verdict": "second"}], False, id="bare verdicts, one differs"),
    ],
)
def test_verdicts_that_are_copies_of_another_judges_are_found(
    project: Project, answers: list[Any], others: list[Any] | None, is_copy: bool
) -> None:
    """A verdict file is brought under another judge's name; both versions are in the ledger."""
    write_verdicts(project, make_verdicts("one", answers, keys="k"), {"provider": "recorded", "name": "one"})
    write_verdicts(
        project, make_verdicts("two", others or answers, keys="m"), {"provider": "recorded", "name": "two"}
    )
    findings = find(project, "rows-copied")
    assert [finding.place for finding in findings] == [f"{JUDGEMENTS_TABLE}, judge 'two'"] * is_copy
    assert audit(project.root, "judgements").findings == ()


def test_a_judge_that_was_only_moved_asked_nothing_again(project: Project) -> None:
    """Rows of one verdict key were asked once: the key covers weights and question, not the model's path."""
    for name in ("models/judge", "models/old"):
        write_verdicts(project, make_verdicts(name, FINE, keys="k"), {"provider": "local", "model": name})
    assert find(project, "rows-copied") == []


def test_a_verdict_file_in_which_one_judge_copies_another_is_found(project: Project) -> None:
    lines = [
        {
            "response_a": f"a{i}",
            "response_b": "b",
            "order": "ab",
            "judge": judge,
            "verdict": "first",
            **answer,
        }
        for judge in ("one", "two")
        for i, answer in enumerate(FINE)
    ]

    def write(folder: Path) -> None:
        (folder / JUDGE_VERDICTS).write_text("\n\n".join(map(json.dumps, lines)))

    run(project, make_stage("judge", write))
    [finding] = find(project, "rows-copied")
    assert finding.place.endswith(f"{JUDGE_VERDICTS}, judge 'two'")


@pytest.mark.parametrize(
    ("names", "settings", "weights", "is_found"),
    [
        (("one", "two"), ({"t": 0}, {"t": 0}), ("w", "w"), True),
        (("one", "two"), ({"t": 0}, {"t": 1}), ("w", "w"), False),
        (("one", "two"), ({"t": 0}, {"t": 0}), ("w", "v"), False),
        (("one", "two"), ({"t": 0}, {"t": 0}), (None, None), False),
    ],
)
def test_one_judge_under_two_names_in_a_jury_is_found(
    project: Project,
    names: tuple[str, str],
    settings: tuple[dict[str, int], dict[str, int]],
    weights: tuple[str | None, str | None],
    is_found: bool,
) -> None:
    def write(folder: Path) -> None:
        (folder / JUDGE_JSON).write_text('{"provider": "jury"}')
        for number, (name, told, bytes_) in enumerate(zip(names, settings, weights, strict=True)):
            member = folder / "judges" / str(number)
            (member / "model").mkdir(parents=True)
            (member / JUDGE_JSON).write_text(json.dumps({"name": name, "model": f"models/{name}", **told}))
            if bytes_ is not None:
                (member / "model" / "model.safetensors").write_text(bytes_)

    run(project, make_stage("judge", write))
    findings = find(project, "same-bytes")
    assert [finding.place.endswith(" judges/1") for finding in findings] == [True] * is_found


# --- recorded files ---


@pytest.mark.parametrize(
    ("file", "names", "contradicted"),
    [
        ("verdicts.jsonl", ["gpt-4"], None),
        ("mtbench_gpt-4-0613_raw_600.jsonl", ["gpt-4"], None),
        ("gpt4.jsonl", ["gpt-4-0613"], None),
        ("gpt-4.jsonl", ["gpt-4", "claude-2"], None),
        ("gpt-4.jsonl", ["judge 1"], None),
        ("gpt-4.jsonl", ["gpt-3.5-turbo"], "gpt-4"),
        ("gpt-4_vs_claude-2.jsonl", ["gpt-4"], "claude-2"),
        ("llama-2-13b-chat.jsonl", ["llama-2-7b-chat"], "llama-2-13b"),
        ("claude.jsonl", ["vicuna-13b-v1.3"], "claude"),
    ],
)
@pytest.mark.parametrize("column", ["judge", "source"])
def test_a_file_whose_name_says_another_model_than_its_rows_is_found(
    project: Project, file: str, names: list[str], contradicted: str | None, column: str
) -> None:
    inputs = project.root / "inputs"
    inputs.mkdir()
    (inputs / file).write_text("".join(json.dumps({column: name}) + "\n" for name in names))
    if column == "judge":
        (inputs / "judge.yaml").write_text(f"provider: recorded\nverdicts: inputs/{file}\n")
    else:
        shutil.copyfile(REPOSITORY / "inputs" / "pipeline.yaml", inputs / "pipeline.yaml")
        sampling = {"provider": "recorded", "responses": f"inputs/{file}"}
        edit_yaml(inputs / "pipeline.yaml", lambda pipeline: pipeline.update(sampling=sampling))
    findings = find(project, "name-contradicted")
    assert [finding.place for finding in findings] == [f"inputs/{file}, {column}"] * bool(contradicted)
    assert all(finding.expected.startswith(f"{contradicted}, ") for finding in findings)


def test_recorded_files_that_cannot_be_read_are_said_not_to_be_looked_at(project: Project) -> None:
    (project.root / "inputs").mkdir()
    (project.root / "inputs" / "judge.yaml").write_text("provider: recorded\nverdicts: inputs/none.jsonl\n")
    assert any(words.startswith("the names of recorded files") for words in audit(project.root).skipped)


def test_rows_that_cannot_be_read_are_said_not_to_be_looked_at(project: Project) -> None:
    run(
        project,
        make_stage("odd", lambda folder: (folder / RESPONSES_TABLE).write_text("no parquet")),
    )
    report = audit(project.root)
    assert report.findings == ()
    assert report.skipped[0].startswith("the rows of odd@")
