"""Answers that were paid for are never asked for again: juries, journals, and versions of other makers."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.errors import JudgeError, StageError
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.journal import LANDED, mark_landed, open_journal
from rlaif_dagster.lineage import reuse
from rlaif_dagster.lineage.project import Project
from tests.conftest import edit_yaml
from tests.graph.planted_project import make_planted, run_to, write_lines

JUROR: dict[str, Any] = {"provider": "planted", "template": "pairwise"}


@pytest.fixture
def project(default_project: Path) -> Path:
    make_planted(default_project)
    return default_project


def reword(project: Path, text: str) -> None:
    def change(constitution: dict[str, Any]) -> None:
        constitution["principles"][0]["text"] = text

    edit_yaml(project / "inputs" / "constitution.yaml", change)


@pytest.mark.slow
def test_a_juror_that_joins_is_asked_alone_and_going_back_asks_nobody(project: Path) -> None:
    """24 prompts x 6 pairs x 2 principles x 2 orders = 576 questions to each judge."""
    counts = run_to(project, "judgements")["judgements"].counts
    assert counts["judge_calls_asked"] == 576
    one, two, three = ({**JUROR, "name": name, "seed": seed} for seed, name in enumerate("abc"))
    for judges, num_asked in (([one, two], 576), ([one, two, three], 576), ([three, one], 0)):
        judge = {"provider": "jury", "judges": judges}
        (project / "inputs" / "judge.yaml").write_text(json.dumps(judge))
        counts = run_to(project, "judgements")["judgements"].counts
        assert counts["judge_calls_asked"] == num_asked
        assert counts["judge_calls_asked"] + counts["judge_calls_reused"] == 576 * len(judges)


def test_an_answer_that_stands_in_no_version_waits_for_the_run_that_wants_it(tmp_path: Path) -> None:
    """X is answered and stopped; Y lands; X comes back: what Y used is dropped, what X paid for is not."""
    x, y = (Reply(call_id=name, status="ok", text="A") for name in "xy")
    for attempt, answer in (("for-x", x), ("for-y", y)):
        with open_journal(tmp_path / "journal", attempt) as journal:
            journal.want([answer.call_id])
            assert journal.take([answer.call_id, answer.call_id]) == [True, False]
            journal.add([answer])
    mark_landed(tmp_path / "journal", "for-y")
    with open_journal(tmp_path / "journal", "again") as journal:
        assert (journal.find("x"), journal.find("y")) == (x, None)
    assert list((tmp_path / "journal").glob(f"*{LANDED}")) == []


@pytest.mark.slow
def test_a_stopped_run_is_not_paid_twice_when_another_landed_in_between(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlaif_dagster.judging.providers.planted import PlantedJudge

    ask = PlantedJudge.ask
    run_to(project, "judgements")

    def ask_some(self: PlantedJudge, calls: Any) -> Any:
        for number, answer in enumerate(ask(self, calls)):
            if number == 100:
                raise JudgeError("the budget is spent")
            yield answer

    reword(project, "Be warm.")
    with monkeypatch.context() as patch:
        patch.setattr(PlantedJudge, "ask", ask_some)
        with pytest.raises(JudgeError, match="budget"):
            run_to(project, "judgements")
    reword(project, "Be cool.")
    assert run_to(project, "judgements")["judgements"].counts["judge_calls_asked"] == 288
    reword(project, "Be warm.")
    assert run_to(project, "judgements")["judgements"].counts["judge_calls_asked"] == 188


@pytest.mark.slow
@pytest.mark.parametrize("asset", ["judgements", "judge_audit"])
def test_an_upgrade_of_a_library_asks_a_judge_that_is_not_local_nothing(
    asset: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_to(project, asset)[asset].counts
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "99.0" if name == "pyarrow" else real(name)
    )
    monkeypatch.setattr(reuse, "_read_version", importlib.metadata.version)
    record = run_to(project, asset)[asset]
    assert record.recipe_parts.engine["pyarrow"] == "99.0"
    assert record.counts["judge_calls_asked"] == 0
    assert record.counts["judge_calls_reused"] == before["judge_calls_asked"] > 0


def test_a_canary_of_old_judgements_says_what_to_run_first(project: Path) -> None:
    """Only the prompts moved on: a canary now could not put the questions that were judged."""
    run_to(project, "judge_canary")
    responses = (project / "inputs" / "responses.jsonl").read_text().splitlines()
    (project / "inputs" / "responses.jsonl").write_text("\n".join(responses[:48]) + "\n")
    write_lines(
        project / "inputs" / "prompts.jsonl",
        [{"prompt": f"What is {number} and {number}?"} for number in range(12)],
    )
    opened = Project.open(project)
    graph = opened.build_graph()
    from rlaif_dagster.progress import ignore_progress

    for name in ("prompts", "sampled_responses"):
        reuse.materialise(opened, graph[name], progress=ignore_progress)
    with pytest.raises(StageError, match="rlaif run judgements"):
        reuse.materialise(opened, graph["judge_canary"], progress=ignore_progress)
