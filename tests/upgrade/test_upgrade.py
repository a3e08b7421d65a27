"""A project that version 0.1.0 made is upgraded: nothing is trained, sampled or asked again, and the plan says why.

The libraries are those of the records, so that the package alone was upgraded.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlaif_dagster.former_names import update_names
from rlaif_dagster.graph.judging import read_answers
from rlaif_dagster.lineage.causes import UPGRADED
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import MaterialiseResult
from rlaif_dagster.tables import read_table
from tests.conftest import edit_yaml
from tests.lineage.audited_projects import audit
from tests.serving.fault_server import RunningServer, run_server
from tests.upgrade.old_projects import RELEASE, bring_up_to_date, unpack, with_libraries_of

pytestmark = pytest.mark.slow

PROJECTS = ("project_0_1_0", "served_project_0_1_0")
MODELS = {"base_policy", "supervised_policy", "reward_model", "aligned_policy"}
COMPUTED = {"evaluation", "released_policy"}
"""What is computed again: figures and the release are written anew."""

REWARDS = {"base_reward", "aligned_reward"}


@pytest.fixture(scope="module", params=PROJECTS)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as 0.1.0 left it; tests only read it."""
    return unpack(request.param, tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The server that judges in these projects, at the address that they look for."""
    with (
        run_server(tmp_path_factory.mktemp("server") / "log") as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        server.log.touch()
        patch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.fixture(scope="module")
def upgraded(
    old: Path, server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, MaterialiseResult], int]:
    """A copy after a run of this release, what became of each asset, and how often the server was asked."""
    root = Path(shutil.copytree(old, tmp_path_factory.mktemp("new") / "project", symlinks=True))
    before = len(server.read_log())
    with with_libraries_of(root):
        outcomes = bring_up_to_date(root)
    return root, outcomes, len(server.read_log()) - before


def plan(root: Path) -> Plan:
    project = Project.open(root)
    return make_plan(project, project.build_graph())


def find_heads(root: Path) -> dict[str, MaterialisationRecord]:
    return Project.open(root).ledger.find_heads()


def test_the_plan_puts_every_change_down_to_the_upgrade_and_spends_nothing(old: Path) -> None:
    with with_libraries_of(old):
        planned = plan(old)
    causes = {cause.path for item in planned.stale for cause in item.causes}
    assert all(path.startswith(f"{UPGRADED} from 0.1.0 to {RELEASE}: ") for path in causes), causes
    assert {item.asset for item in planned.stale if item.status == "computed"} == COMPUTED
    assert {item.status for item in planned.stale} == {"computed", "reused"}
    assert (planned.price.rows_sampled.max, planned.price.judge_calls.max) == (0, 0)


def test_an_edit_is_told_apart_from_the_upgrade(old: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(old, tmp_path / "project", symlinks=True))

    def edit(pipeline: dict[str, Any]) -> None:
        pipeline["policy"]["learning_rate"] = 0.001

    edit_yaml(root / "inputs" / "pipeline.yaml", edit)
    with with_libraries_of(root):
        (policy,) = (item for item in plan(root).stale if item.asset == "aligned_policy")
    assert policy.status == "computed"
    assert [(cause.path.rpartition(": ")[2], cause.old, cause.new) for cause in policy.causes] == [
        ("policy.learning_rate", 0.003, 0.001),
        ("code of aligned_policy", "5", "7"),
    ]
    assert [cause.path.startswith(UPGRADED) for cause in policy.causes] == [False, True]


def test_a_library_that_was_upgraded_as_well_is_told_apart(old: Path) -> None:
    with with_libraries_of(old, trl="99.1"):
        (model,) = (item for item in plan(old).stale if item.asset == "reward_model")
    assert model.status == "computed"
    assert ("library trl", "99.1") in [(cause.path, cause.new) for cause in model.causes]


def test_trained_models_are_reused_byte_for_byte_and_their_records_say_why(
    old: Path, upgraded: tuple[Path, dict[str, MaterialiseResult], int]
) -> None:
    root, outcomes, _ = upgraded
    before = find_heads(old)
    assert {name for name, outcome in outcomes.items() if outcome.status == "computed"} == COMPUTED
    for name in MODELS & outcomes.keys():
        record = outcomes[name].record
        assert record.output == before[name].output
        assert record.made_by == before[name].recipe
    assert outcomes["aligned_policy"].record.former_recipe == before["aligned_policy"].recipe
    assert audit(root).findings == ()


def test_no_verdict_is_asked_again(upgraded: tuple[Path, dict[str, MaterialiseResult], int]) -> None:
    """Whatever asks a judge: about sampled pairs, held-out answers and those at checkpoints, probes and canary."""
    _, outcomes, num_asked = upgraded
    assert num_asked == 0
    counts = outcomes["evaluation"].record.counts
    assert counts.get("judge_calls_asked", 0) == counts["num_sampled"] == 0


def test_held_out_answers_and_verdicts_on_them_keep_their_rows(
    old: Path, upgraded: tuple[Path, dict[str, MaterialiseResult], int]
) -> None:
    """The reward of a cut answer is another one: it is not said to have ended. Others are rounded beside it."""
    root, _, _ = upgraded
    before, after = (folder / "data" / "evaluation" for folder in (old, root))
    for name in ("responses.parquet", "judgements.parquet"):
        if (before / name).exists():
            assert read_table(after / name) == read_table(before / name)
    for then, now in zip(
        *(read_table(folder / "comparisons.parquet") for folder in (before, after)), strict=True
    ):
        row = update_names(then)
        assert {name: now[name] for name in row.keys() - REWARDS} == {
            name: row[name] for name in row.keys() - REWARDS
        }
        if "length" not in (now["base_finish_reason"], now["aligned_finish_reason"]):
            assert {name: now[name] for name in REWARDS} == pytest.approx(
                {name: row[name] for name in REWARDS}, abs=1e-6
            )


def test_after_the_upgrade_everything_is_fresh(
    upgraded: tuple[Path, dict[str, MaterialiseResult], int], server: RunningServer
) -> None:
    root, _, _ = upgraded
    num_records, num_asked = len(Project.open(root).ledger.records()), len(server.read_log())
    with with_libraries_of(root):
        assert plan(root).stale == ()
        assert {outcome.status for outcome in bring_up_to_date(root).values()} == {"reused"}
    assert len(Project.open(root).ledger.records()) == num_records
    assert len(server.read_log()) == num_asked


def test_an_edit_after_the_upgrade_trains_on_the_labels_of_before(
    upgraded: tuple[Path, dict[str, MaterialiseResult], int], tmp_path: Path
) -> None:
    """Labels of 0.1.0 lack columns that a training reads today."""
    root = Path(shutil.copytree(upgraded[0], tmp_path / "project", symlinks=True))

    def edit(pipeline: dict[str, Any]) -> None:
        pipeline["reward_model"]["num_epochs"] = 8.0

    edit_yaml(root / "inputs" / "pipeline.yaml", edit)
    with with_libraries_of(root):
        outcomes = bring_up_to_date(root)
    assert outcomes["ai_preferences"].status == "reused"
    assert outcomes["reward_model"].status == "computed"


def test_the_served_project_asks_wherever_a_judge_can_be_asked(tmp_path: Path) -> None:
    """Else the count of 0 would say little."""
    root = unpack("served_project_0_1_0", tmp_path)
    heads = find_heads(root)
    asked = {name for name, head in heads.items() if head.counts.get("judge_calls_asked")}
    assert asked == {"revised_responses", "judgements", "judge_audit", "judge_canary", "evaluation"}
    judges = {row["judge"] for row in read_table(root / "data" / "evaluation" / "judgements.parquet")}
    assert judges == {"judge", "other"}
    assert any(True for _ in read_answers(root / "data" / "evaluation"))
