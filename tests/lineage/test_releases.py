"""What stands released, after promotions, refusals, rollbacks, and runs that overlap with them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import CorruptVersionError, GateError, InputError, MissingInputError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.release import build_released_policy
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.inputs.release import RELEASE_FILE, Hold
from rlaif_dagster.lineage.decisions import add_override, make_hold, write_hold
from rlaif_dagster.lineage.plan import make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.releases import ReleaseHistory, require_sound
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.names import RELEASED_POLICY
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.plain_stages import change

from .candidates import build, make_evaluation, make_graph, make_policy, read_history, read_released_text
from .test_ledger import make_record


@pytest.fixture
def project(default_project: Path) -> Project:
    return Project.open(default_project)


def hold(project: Project, target: str | None = None, reason: str = "worse for users") -> None:
    """What `rlaif rollback` does, without Dagster."""
    release = read_history(project).find(target, root=project.root)
    write_hold(project, make_hold(project, str(release.digest), reason))
    materialise(project, build_released_policy(project.read_inputs()), progress=ignore_progress)


def end_hold(project: Project) -> None:
    write_hold(project, Hold(file=project.root / RELEASE_FILE, settings=None))


def test_a_release_says_which_policy_and_why(project: Project) -> None:
    record = build(project, "one").record
    policy = project.ledger.find_heads()["aligned_policy"].output.digest
    evaluation = project.ledger.find_heads()["evaluation"].output.digest
    assert record.metrics["policy"] == policy
    assert record.metrics["evaluation"] == evaluation
    facts = {"value": 0.6, "low": 0.55, "high": 0.7, "n": 90, "num_clusters": 30}
    assert record.metrics["checks"] == {"win_rate_over_half": {"passed": True, "facts": facts}}
    assert record.metrics["figures"] == {"win_rate_judge": facts}
    assert [file.path for file in record.output.files] == ["release.json"]


def test_a_candidate_that_is_not_shown_to_be_better_leaves_the_last_good_release(project: Project) -> None:
    good = build(project, "good").record
    with pytest.raises(GateError, match=r"required check win_rate_over_half, {'high': 0.7, 'low': 0.5"):
        build(project, "bad", low=0.5)
    with pytest.raises(GateError, match="blocking check schema"):
        build(project, "broken", is_sound=False)
    assert project.ledger.find_head(RELEASED_POLICY) == good
    assert read_released_text(project) == "good"


def test_what_is_required_is_a_setting(project: Project) -> None:
    edit_yaml(project.root / "inputs" / "pipeline.yaml", lambda value: value.update(release={"require": []}))
    build(project, "bad", low=0.4)
    assert read_released_text(project) == "bad"
    edit_yaml(
        project.root / "inputs" / "pipeline.yaml", lambda value: value.update(release={"require": ["loss"]})
    )
    with pytest.raises(InputError, match=r"release\.require'.* no check 'loss'\n.*win_rate_over_half"):
        project.build_graph()


def test_an_override_releases_a_policy_and_the_release_says_so(project: Project) -> None:
    build(project, "close", low=0.49, release=False)
    override = add_override(
        project, make_graph(project, "close", low=0.49), "evaluation", "win_rate_over_half", "few prompts"
    )
    record = build(project, "close", low=0.49).record
    assert record.overrides == (override,)
    assert record.metrics["checks"]["win_rate_over_half"]["passed"] is False
    assert read_history(project).releases[0].rests_on == (override,)


def plan_release(project: Project, graph: Graph) -> tuple[str, tuple[str, ...]]:
    *_, release = make_plan(project, graph).assets
    return release.status, release.blocked_by


def test_the_plan_knows_gates_overrides_and_holds(project: Project) -> None:
    build(project, "one")
    build(project, "close", low=0.49, release=False)
    assert plan_release(project, make_graph(project, "close", low=0.49)) == (
        "blocked",
        ("evaluation: win_rate_over_half",),
    )
    hold(project, "1")
    assert plan_release(project, make_graph(project, "close", low=0.49)) == ("fresh", ())
    end_hold(project)
    build(project, "broken", low=0.49, is_sound=False, release=False)
    broken = make_graph(project, "broken", low=0.49, is_sound=False)
    assert plan_release(project, broken) == (
        "blocked",
        ("evaluation: schema", "evaluation: win_rate_over_half"),
    )
    for check in ("schema", "win_rate_over_half"):
        add_override(project, broken, "evaluation", check, "known")
    assert plan_release(project, make_graph(project, "broken", low=0.49, is_sound=False)) == ("computed", ())


def test_an_override_far_upstream_shows_in_the_release(project: Project) -> None:
    policy = make_policy("one")
    [gate, _] = make_evaluation(low=0.55, is_sound=False).governance.checks
    failed = materialise(project, change(policy, checks=(gate,)), progress=ignore_progress).record
    override = Override(
        asset="aligned_policy", digest=failed.output.digest, check="schema", reason="a known fault"
    )
    for stage in list(make_graph(project, "one").values())[1:]:
        materialise(project, change(stage, overrides=(override,)), progress=ignore_progress)
    [release] = read_history(project).releases
    assert (release.rests_on, release.record.overrides) == ((override,), ())


def test_a_rollback_returns_the_very_bytes_and_holds_them(project: Project) -> None:
    first = build(project, "one").record
    second = build(project, "two").record
    assert read_released_text(project) == "two"
    hold(project, reason="worse for users")
    head = project.ledger.find_head(RELEASED_POLICY)
    assert head is not None
    assert (head.output, head.reason) == (first.output, "worse for users")
    assert read_released_text(project) == "one"
    assert plan_release(project, make_graph(project, "two")) == ("fresh", ())
    third = build(project, "three").record
    assert third.output == first.output
    assert read_history(project).held == "worse for users"
    assert project.store.find_pinned(RELEASED_POLICY) == first.output.md5
    end_hold(project)
    assert plan_release(project, make_graph(project, "three")) == ("computed", ())
    assert build(project, "three").record.output.digest not in (first.output.digest, second.output.digest)
    assert read_released_text(project) == "three"
    assert [release.number for release in read_history(project).releases] == [1, 2, 3]


def test_under_a_hold_a_bad_candidate_is_no_fault(project: Project) -> None:
    build(project, "one")
    hold(project, "1")
    build(project, "bad", low=0.4)
    assert read_released_text(project) == "one"


def test_a_rollback_works_while_the_newest_evaluation_is_blocked_and_says_so(project: Project) -> None:
    for text in ("one", "two"):
        build(project, text)
    build(project, "broken", is_sound=False, release=False)
    hold(project, reason="two is rude")
    assert read_released_text(project) == "one"
    head = project.ledger.find_head(RELEASED_POLICY)
    assert head is not None
    [override] = head.overrides
    assert (override.asset, override.check, override.reason) == ("evaluation", "schema", "two is rude")


def test_a_run_that_began_before_a_rollback_does_not_undo_it(project: Project) -> None:
    for text in ("one", "two"):
        build(project, text)
    running = list(make_graph(project, "three").values())
    for stage in running[:2]:
        materialise(project, stage, progress=ignore_progress)
    hold(project)
    with pytest.raises(InputError, match="hold was changed during the run"):
        materialise(project, running[2], progress=ignore_progress)
    assert read_released_text(project) == "one"


def test_a_run_that_began_under_a_hold_does_not_bring_it_back(project: Project) -> None:
    for text in ("one", "two"):
        build(project, text)
    hold(project)
    running = build_released_policy(project.read_inputs())
    end_hold(project)
    build(project, "two")
    with pytest.raises(InputError, match="hold was changed"):
        materialise(project, running, progress=ignore_progress)
    assert read_released_text(project) == "two"


def test_another_reason_is_recorded_though_nothing_else_changes(project: Project) -> None:
    build(project, "one")
    for reason in ("one", "two", "two"):
        hold(project, "1", reason=reason)
    assert [rollback.reason for rollback in read_history(project).rollbacks] == ["one", "two"]
    assert len([record for record in project.ledger.records() if record.asset == RELEASED_POLICY]) == 3


def test_a_release_whose_policy_is_damaged_is_refused(project: Project) -> None:
    for text in ("one", "two"):
        build(project, text)
    [stored] = [
        path
        for path in (project.root / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if path.is_file() and path.read_bytes() == b"one"
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"six")
    with pytest.raises(CorruptVersionError):
        require_sound(project, read_history(project).find("1", root=project.root))
    require_sound(project, read_history(project).find("2", root=project.root))


def test_a_hold_of_a_release_that_never_was_is_refused(project: Project) -> None:
    build(project, "one")
    write_hold(project, make_hold(project, "sha256:" + "0" * 64, "typed by hand"))
    with pytest.raises(MissingInputError, match="the ledger has no version sha256:0000"):
        materialise(project, build_released_policy(project.read_inputs()), progress=ignore_progress)
    assert read_released_text(project) == "one"


# --- which release is meant ---


def make_history(events: Sequence[tuple[str, str | None]]) -> ReleaseHistory:
    """A history of (policy's letter, reason of a rollback or None for a promotion)."""
    records: list[MaterialisationRecord] = []
    for letter, reason in events:
        record = make_record(RELEASED_POLICY, len(records) + 1, ())
        digest, policy = (
            str(Digest.from_bytes(f"{kind} {letter}".encode())) for kind in ("release", "policy")
        )
        records.append(
            record.model_copy(
                update={
                    "output": record.output.model_copy(update={"digest": digest}),
                    "metrics": {"policy": policy},
                    "reason": reason,
                }
            )
        )
    return ReleaseHistory.from_records(records)


def name_current(history: ReleaseHistory) -> tuple[int | None, str | None]:
    return history.current.number if history.current else None, history.held


@pytest.mark.parametrize(
    ("events", "current", "back"),
    [
        ([("A", None), ("B", None)], 2, 1),
        ([("A", None), ("B", None), ("A", None)], 3, 2),
        ([("A", None), ("A", None), ("B", None), ("C", None), ("B", "r")], 2, 1),
        ([("A", None), ("B", None), ("A", "r"), ("B", None), ("C", None)], 3, 2),
        ([("A", None), ("B", None), ("A", "r"), ("B", None)], 2, 1),
    ],
)
def test_the_release_before_is_that_before_the_one_that_stands(
    events: list[tuple[str, str | None]], current: int, back: int
) -> None:
    history = make_history(events)
    assert history.current is not None
    assert history.current.number == current
    assert history.find(None, root=Path()).number == back
    assert history.find("-1", root=Path()).number == back


def test_a_release_is_named_by_number_count_or_digest() -> None:
    history = make_history([("A", None), ("B", None), ("C", None), ("A", None)])
    first, second, third, fourth = history.releases
    names = {
        "1": first,
        "#2": second,
        "-1": third,
        "-3": first,
        str(second.digest): second,
        third.digest.sha256[:6]: third,
        third.policy.sha256[:6]: third,
        first.digest.sha256[:8]: fourth,
    }
    assert {name: history.find(name, root=Path()).number for name in names} == {
        name: release.number for name, release in names.items()
    }


@pytest.mark.parametrize("target", ["-4", "5", "0", "abc", "abcd", "", "sha256:", "zzzz", "--", "-0x"])
def test_a_name_of_no_release_is_an_error(target: str) -> None:
    history = make_history([("A", None), ("B", None), ("C", None), ("D", None)])
    with pytest.raises(InputError, match=r"there is no release .*(?s:.*)rlaif releases"):
        history.find(target, root=Path())


def test_an_ambiguous_prefix_is_an_error() -> None:
    history = make_history([(str(number), None) for number in range(600)])
    prefixes = [release.digest.sha256[:4] for release in history.releases]
    [twice, *_] = [prefix for prefix in prefixes if prefixes.count(prefix) > 1 and not prefix.isdigit()]
    with pytest.raises(InputError, match=f"'{twice}' names several releases: .*\n.*give more"):
        history.find(twice, root=Path())


def test_without_a_release_there_is_none_to_return_to() -> None:
    with pytest.raises(InputError, match="there is no release '-1'"):
        make_history([]).find(None, root=Path())


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from([None, None, "r", "s"])), max_size=12))
def test_the_history_tells_what_stands(events: list[tuple[str, str | None]]) -> None:
    """A rollback is to what was promoted before; whatever happens, the last event decides what stands."""
    promoted: set[str] = set()
    possible = []
    for letter, reason in events:
        if reason is None or letter in promoted:
            promoted.add(letter)
            possible.append((letter, reason))
    history = make_history(possible)
    assert [release.number for release in history.releases] == list(range(1, len(history.releases) + 1))
    assert all(
        earlier.digest != later.digest
        for earlier, later in zip(history.releases, history.releases[1:], strict=False)
    )
    if possible:
        letter, reason = possible[-1]
        assert history.current is not None
        assert history.current.digest == Digest.from_bytes(f"release {letter}".encode())
        assert history.held == reason
    else:
        assert name_current(history) == (None, None)
