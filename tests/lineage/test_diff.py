"""What differs between two states: hand-made tables for the arithmetic, one real project for causes and effects."""

import dataclasses
import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlaif_dagster.cli.main import app
from rlaif_dagster.errors import InputError
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.verdicts import judgements_schema
from rlaif_dagster.lineage.comparing.constitutions import compare_constitutions, compare_texts
from rlaif_dagster.lineage.comparing.diff import ProjectDiff, compare_states
from rlaif_dagster.lineage.comparing.feedback import compare_preferences, diff_verdicts
from rlaif_dagster.lineage.comparing.outcomes import compare_outcomes
from rlaif_dagster.lineage.comparing.page import render_diff
from rlaif_dagster.lineage.comparing.rewards import compare_reward_models, correlate_ranks
from rlaif_dagster.lineage.comparing.states import find_state
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.models import embedded_path
from rlaif_dagster.preferences import preferences_schema
from rlaif_dagster.tables import write_table
from tests.docs.pages import read_examples, read_table
from tests.lineage.audited_projects import STORE, list_files, snapshot
from tests.lineage.compared_project import make_compared
from tests.lineage.test_trace import make_label
from tests.training.tiny_models import whole

# --- constitutions ---


def make_constitution(**principles: tuple[str, float]) -> Constitution:
    return Constitution(
        principles=tuple(Principle(id=i, text=t, weight=w) for i, (t, w) in sorted(principles.items()))
    )


def test_every_change_of_a_principle_has_its_name() -> None:
    before = make_constitution(a=("A.", 1), b=("B.", 1), c=("C.", 1), d=("D.", 1), e=("E.", 1))
    after = make_constitution(a=("A.", 1), c=("C!", 1), d=("D.", 2), e=("E!", 2), f=("F.", 1))
    assert {one.principle_id: one.change for one in compare_constitutions(before, after)} == {
        "b": "removed",
        "c": "reworded",
        "d": "reweighted",
        "e": "reworded and reweighted",
        "f": "added",
    }


def test_a_new_wording_is_told_word_by_word() -> None:
    parts = [(part.what, part.text) for part in compare_texts("Be polite.", "Be very kind.")]
    assert parts == [("same", "Be "), ("removed", "polite"), ("added", "very kind"), ("same", ".")]


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_pieces_give_both_texts_back(before: str, after: str) -> None:
    parts = list(compare_texts(before, after))
    assert "".join(part.text for part in parts if part.what != "added") == before
    assert "".join(part.text for part in parts if part.what != "removed") == after


# --- verdicts and preferences ---


def write_keys(folder: Path, keys: dict[str, str | None]) -> Path:
    texts = ("pair_id", "prompt_id", "response_a", "response_b", "judge")
    folder.mkdir()
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(texts, "x"),
            "verdict_id": key,
            "principle_id": principle,
            "order": "ab",
            "repeat": 0,
            "status": "failed",
            "answers": [],
        }
        for key, principle in keys.items()
    ]
    write_table(folder / "judgements.parquet", rows, judgements_schema())
    return folder


def test_verdicts_asked_anew_are_counted_by_principle(tmp_path: Path) -> None:
    before = write_keys(tmp_path / "a", {"1": "kind", "2": "brief", "3": None})
    after = write_keys(tmp_path / "b", {"1": "kind", "4": "kind", "5": "kind", "6": None})
    diff = diff_verdicts(before, after)
    assert (diff.num_before, diff.num_after, diff.num_kept) == (3, 4, 1)
    assert diff.asked_anew == {"kind": 2, "the whole constitution": 1}


def write_labels(folder: Path, *labels: dict[str, Any]) -> Path:
    folder.mkdir()
    write_table(folder / "preferences.parquet", labels, preferences_schema())
    return folder


def test_flipped_preferences_are_told_from_what_each_principle_said(tmp_path: Path) -> None:
    """Labels are weighted means: own = 0.3 -> 0.6, where kind turned from 0.2 to 0.6 (3 * p + 0.6) / 4."""
    before = write_labels(
        tmp_path / "a",
        make_label("own", 0.3, ("brief", 0.6, 1.0), ("kind", 0.2, 3.0)),
        make_label("weights", 0.3, ("brief", 0.6, 1.0), ("kind", 0.2, 3.0)),
        make_label("moved", 0.9, ("brief", 0.9, 1.0)),
        make_label("tie", 0.5, ("brief", 0.5, 1.0)),
        make_label("gone", 0.9, ("brief", 0.9, 1.0)),
    )
    after = write_labels(
        tmp_path / "b",
        make_label("own", 0.6, ("brief", 0.6, 1.0), ("kind", 0.6, 3.0)),
        make_label("weights", 0.56, ("brief", 0.6, 9.0), ("kind", 0.2, 1.0)),
        make_label("moved", 0.8, ("brief", 0.8, 1.0)),
        make_label("tie", 0.7, ("brief", 0.7, 1.0)),
    )
    diff = compare_preferences(before, after)
    counts = (diff.num_before, diff.num_after, diff.num_common, diff.num_moved, diff.num_flipped)
    assert counts == (5, 4, 4, 4, 2)
    assert diff.num_by_weights == 1
    assert diff.mean_shift == pytest.approx((0.3 + 0.26 + 0.1 + 0.2) / 4)
    brief, kind = diff.principles
    assert (brief.principle_id, brief.num_common, brief.num_own, brief.num_in_flipped) == ("brief", 4, 0, 0)
    assert (kind.num_common, kind.num_own, kind.num_in_flipped) == (2, 1, 1)
    # brief's weight of 9 alone: (9 * 0.6 + 3 * 0.2) / 12 = 0.5, a tie; kind's of 1 alone: 0.4. Only `own` flips alone.
    assert (brief.num_alone, kind.num_alone) == (0, 1)
    first, second = diff.examples
    assert (first.pair_id, first.before, first.after) == ("own", 0.3, 0.6)
    assert [(one.principle_id, one.before, one.after, one.flipped) for one in first.principles] == [
        ("brief", 0.6, 0.6, False),
        ("kind", 0.2, 0.6, True),
    ]
    assert second.pair_id == "weights"


def test_a_version_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "a", make_label("x", 0.3, ("kind", 0.3, 1.0)))
    diff = compare_preferences(folder, folder)
    assert (diff.num_moved, diff.num_flipped, diff.mean_shift, diff.examples) == (0, 0, 0.0, ())


# --- reward models ---


@pytest.mark.slow
def test_ranks_of_common_answers_are_correlated() -> None:
    """Ranks 1 2 3 4 beside 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8; the rewards' size does not count."""
    before = {("p", text): value for text, value in zip("abcdz", (1.0, 2.0, 3.0, 4.0, 9.0), strict=True)}
    after = {("p", text): value for text, value in zip("abcdy", (-5.0, 70.0, 1.0, 99.0, 0.0), strict=True)}
    diff = correlate_ranks(before, after, source="models")
    assert diff.spearman == pytest.approx(0.8)
    assert diff.num_answers == 4


def test_without_ranks_there_is_no_correlation() -> None:
    flat = dict.fromkeys([("p", "a"), ("p", "b")], 1.0)
    assert correlate_ranks(flat, {("p", "a"): 1.0, ("p", "b"): 2.0}, source="models").spearman is None
    assert correlate_ranks({}, {}, source="models").spearman is None


def test_stored_scores_are_used_before_a_model_is_opened(tmp_path: Path) -> None:
    scores = {("p", str(number)): float(number) for number in range(10)}
    diff = compare_reward_models((scores, scores), (tmp_path, tmp_path), lambda: pytest.fail("asked"))
    assert diff is not None
    assert diff.spearman == pytest.approx(1.0)
    assert diff.source == "evaluations"
    assert compare_reward_models(({}, {}), (None, tmp_path), lambda: {whole("p", "a")}) is None


@pytest.mark.slow
def test_without_stored_scores_both_models_score_common_answers(tmp_path: Path) -> None:
    """A model whose head is the other's with its sign turned ranks the other way round."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(embedded_path("policy"), num_labels=1)
    for name, sign in (("a", 1.0), ("b", -1.0)):
        model.score.weight.data *= sign
        model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(embedded_path("policy")).save_pretrained(tmp_path / name)
    answers = {whole("What is it?", f"It is {word}.") for word in ("red", "blue", "small", "old", "here")}
    diff = compare_reward_models(({}, {}), (tmp_path / "a", tmp_path / "b"), lambda: answers)
    assert diff is not None
    assert diff.spearman == pytest.approx(-1.0)
    assert (diff.num_answers, diff.source) == (5, "models")


# --- outcomes ---


def make_comparison(prompt: int, index: int, text: str, p_judge: float | None) -> Comparison:
    return Comparison(
        prompt_id=f"p{prompt}",
        index=index,
        prompt=f"Question {prompt}?",
        base_text="base",
        aligned_text=text,
        p_judge=p_judge,
    )


def test_the_shift_is_that_of_comparisons_which_both_sides_decided() -> None:
    """Of four common ones the fourth has no verdict on side B: 1/3 -> 2/3; a comparison of one side does not count."""
    before = [make_comparison(n, 0, f"old {n}", p) for n, p in enumerate((0.9, 0.1, 0.2, 0.9))]
    after = [make_comparison(n, 0, f"new {n}", p) for n, p in enumerate((0.9, 0.8, 0.2, None))]
    diff = compare_outcomes([*before, make_comparison(9, 0, "x", 0.9)], after)
    (rate,) = diff.win_rates
    assert (diff.num_before, diff.num_after, diff.num_common, diff.num_same_answer) == (5, 4, 4, 0)
    assert [rate.before, rate.after, rate.shift.value] == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    assert (rate.source, rate.shift.n) == ("judge", 3)
    assert diff.samples[0].before == "old 1"  # the change for the better comes first
    assert compare_outcomes(before, before).samples == ()


# --- a whole project ---


@pytest.fixture(scope="module")
def compared(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_compared(tiny_base, tmp_path_factory.mktemp("compared") / "project")


def diff_states(root: Path, before: str, after: str) -> ProjectDiff:
    project = Project.open(root)
    return compare_states(project, find_state(project, before), find_state(project, after))


@pytest.mark.slow
def test_causes_are_linked_to_what_they_did(compared: Path) -> None:
    before = {name: value for name, value in snapshot(compared).items() if not name.startswith(".rlaif")}
    diff = diff_states(compared, "v1", "v2")
    assert diff.absent == ()
    assert [(one.principle_id, one.change) for one in diff.constitution or ()] == [("honest", "reworded")]
    assert diff.judge == ()
    assert [change.path for change in diff.settings] == ["aligned_policy: policy.beta"]
    assert diff.verdicts is not None
    assert diff.preferences is not None
    asked = diff.verdicts.asked_anew
    assert set(asked) == {"honest"}
    assert asked["honest"] == diff.verdicts.num_after / 3
    principle, policy = diff.chains
    assert diff.preferences.num_flipped > 0
    flips = {one.principle_id: one.num_alone for one in diff.preferences.principles}
    assert flips["honest"] == diff.preferences.num_flipped  # nothing else changed in the feedback
    assert (principle.asset, principle.cause) == ("constitution", "principle honest reworded")
    assert principle.effects == (
        f"{asked['honest']} new verdicts",
        f"{flips['honest']} of {diff.preferences.num_common} common preferences flip by it",
        "reward rank correlation 1.00",
        "win rate by the judge +0.250",
    )
    assert policy.asset == "aligned_policy"
    assert policy.effects == ("win rate by the judge +0.250",)
    after = {name: value for name, value in snapshot(compared).items() if not name.startswith(".rlaif")}
    assert after == before


@pytest.mark.slow
def test_a_state_is_found_by_each_of_its_names(compared: Path) -> None:
    """A revision, a release and a policy's digest name the same versions of all that made the policy."""
    project = Project.open(compared)
    policy = project.ledger.find_heads()["aligned_policy"].output.digest
    release, revision, version = (
        {asset: record.output.digest for asset, record in find_state(project, name).versions.items()}
        for name in ("release:2", "git:v2", f"aligned_policy@{policy[7:19]}")
    )
    assert release.items() <= revision.items()
    assert version.items() <= release.items()
    assert set(release) - set(version) == {"released_policy"}
    assert find_state(project, "1").what == "release 1"
    with pytest.raises(InputError, match="neither a version, nor a release, nor a git revision"):
        find_state(project, "nowhere")


@pytest.mark.slow
def test_a_revision_is_read_from_git_where_the_ledger_has_lost_it(compared: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(compared, tmp_path / "project", symlinks=True))
    whole = {asset: one.output.digest for asset, one in find_state(Project.open(root), "v1").versions.items()}
    shutil.rmtree(root / "lineage")
    found = find_state(Project.open(root), "v1").versions
    assert {asset: one.output.digest for asset, one in found.items()} == whole


@pytest.mark.slow
def test_what_a_side_lacks_is_said(compared: Path, tmp_path: Path) -> None:
    """An asset that one side never had, and one whose bytes are gone."""
    root = Path(shutil.copytree(compared, tmp_path / "project", symlinks=True))
    table = (root / "data" / "ai_preferences" / "preferences.parquet").read_bytes()
    (stored,) = [path for path in list_files(root, STORE) if path.read_bytes() == table]
    stored.unlink()
    diff = diff_states(root, "prompts", "v2")
    assert "constitution: prompts has no version of it" in diff.absent
    assert diff.constitution is None
    assert diff.preferences is None
    diff = diff_states(root, "v1", "v2")
    assert diff.preferences is None
    (words,) = diff.absent
    assert words.startswith("ai_preferences@")
    assert "its bytes are not available" in words
    assert diff.verdicts is not None


@pytest.mark.slow
def test_the_page_is_whole_and_escapes_what_it_shows(compared: Path) -> None:
    diff = diff_states(compared, "release:1", "release:2")
    page = render_diff(diff)
    assert "<del>only what is true, and admit what </del>" in page
    assert diff.outcomes is not None
    assert "&lt;b&gt;" in page
    assert not re.search(r"<script|<b>\d+ \d|https?://|src=", page)
    for chain in diff.chains:
        assert html.escape(chain.cause) in page
    empty = diff_states(compared, "prompts", "prompts")
    assert "cannot be compared" in render_diff(empty)


@pytest.mark.slow
def test_every_command_on_the_page_runs(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the project's folder, as a person would."""
    root = Path(shutil.copytree(compared, tmp_path / "project", symlinks=True))
    monkeypatch.chdir(root)
    (example,) = [one for one in read_examples("diff.md") if one.language == "console"]
    commands = [shlex.split(line.removeprefix("$ rlaif ")) for line in example.text.splitlines()]
    assert len(commands) == 3
    for arguments in commands:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert (root / "diff.html").read_text().startswith("<!DOCTYPE html>")
    told = json.loads(done.stdout.splitlines()[-1])
    parts = {row["part"].strip("`") for row in read_table("diff.md", below="What is compared").rows}
    assert set(told) == parts | {"before", "after"}
    assert set(told) == {field.name for field in dataclasses.fields(ProjectDiff)}


@pytest.mark.slow
def test_two_rounds_of_one_project_are_compared_by_their_roles(compared: Path) -> None:
    """A second round's versions stand in for the first one's; the toy's are those of the second state."""
    project = Project.open(compared)
    first, second = find_state(project, "v1"), find_state(project, "v2")
    rounds = dict(first.versions) | {
        f"round_2/{role}": second.versions[role] for role in ("ai_preferences", "evaluation", "reward_model")
    }
    later = dataclasses.replace(first, versions=rounds, round=2)
    assert later.by_role["evaluation"] == second.versions["evaluation"]
    assert later.by_role["prompts"] == first.versions["prompts"]
    diff = compare_states(project, first, later)
    assert diff.preferences is not None
    assert diff.preferences.num_flipped > 0
    assert "judgements: v1 has no version of it" in diff.absent
