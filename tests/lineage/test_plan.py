"""Plans of toy stages on a real store and ledger: what is certain, what is not, and the root causes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.changes import Change, diff_values
from rlaif_dagster.graph.price import Foreseen, Price, PriceContext, Range, add_ranges
from rlaif_dagster.graph.pricing import foresee_pairs
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.judging.pairs import Pair, PairingSettings, form_pairs
from rlaif_dagster.lineage.plan import Plan, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import MaterialiseResult, materialise
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.progress import ignore_progress
from tests.plain_stages import change

from .conftest import MakeStage
from .test_reuse import read_files

Run = Callable[[Stage], MaterialiseResult]
PIPELINE = "inputs/pipeline.yaml:"


@pytest.fixture
def chain(make_stage: MakeStage) -> Callable[..., Graph]:
    """Makes the graph a -> b -> c with settings; a is cheap, so that a plan computes it."""

    def make(a: str = "x", b: str = "y", c: str = "z", **options: bool) -> Graph:
        return {
            "a": change(make_stage("a", a, **options), cheap=True),
            "b": make_stage("b", b, ("a",)),
            "c": make_stage("c", c, ("b",)),
        }

    return make


MakeChain = Callable[..., Graph]


def run_all(graph: Graph, run: Run) -> None:
    for stage in graph.values():
        run(stage)


def read_statuses(plan: Plan) -> dict[str, str]:
    return {item.asset: item.status for item in plan.assets}


def read_causes(plan: Plan) -> dict[str, list[tuple[str, object, object]]]:
    return {item.asset: [(cause.path, cause.old, cause.new) for cause in item.causes] for item in plan.assets}


def test_a_plan_changes_nothing_and_what_is_fresh_has_no_cause(
    chain: MakeChain, run: Run, project: Project, computed: list[str]
) -> None:
    run_all(chain(), run)
    before = read_files(project)
    plan = make_plan(project, chain())
    assert read_statuses(plan) == dict.fromkeys("abc", "fresh")
    assert read_causes(plan) == {"a": [], "b": [], "c": []}
    make_plan(project, chain(a="new"))
    assert read_files(project) == before
    assert [name for name in computed if name != "a"] == ["b", "c"]


def test_the_whole_cone_is_stale_with_its_root_cause(chain: MakeChain, run: Run, project: Project) -> None:
    """a is cheap, so b is certain to be made again; c may be cut off."""
    run_all(chain(), run)
    plan = make_plan(project, chain(a="new"))
    assert read_statuses(plan) == {"a": "computed", "b": "computed", "c": "perhaps"}
    cause = (f"{PIPELINE} setting", "x", "new")
    assert read_causes(plan) == {"a": [cause], "b": [cause], "c": [cause]}
    assert [item.asset for item in plan.stale] == ["a", "b", "c"]


def test_causes_of_several_edits_come_upstream_first_each_once(
    chain: MakeChain, run: Run, project: Project
) -> None:
    run_all(chain(), run)
    plan = make_plan(project, chain(a="1", b="2"))
    assert [(cause.asset, cause.new) for cause in plan.assets[2].causes] == [("a", "1"), ("b", "2")]


def test_a_cheap_stage_that_comes_out_the_same_is_known_to_stop_the_rebuild(
    chain: MakeChain, run: Run, project: Project
) -> None:
    run_all(chain(constant=True), run)
    plan = make_plan(project, chain(a="new", constant=True))
    assert read_statuses(plan) == {"a": "computed", "b": "fresh", "c": "fresh"}


def test_an_undone_edit_is_an_earlier_version_all_the_way(
    chain: MakeChain, run: Run, project: Project
) -> None:
    for setting in ("x", "new"):
        run_all(chain(a=setting), run)
    plan = make_plan(project, chain(a="x"))
    assert read_statuses(plan) == dict.fromkeys("abc", "reused")
    assert read_causes(plan)["c"] == [(f"{PIPELINE} setting", "new", "x")]


def test_a_root_cause_is_found_through_assets_that_are_fresh_by_now(
    chain: MakeChain, run: Run, project: Project
) -> None:
    """Only a and b were brought up to date; c was made from what they were."""
    run_all(chain(), run)
    run(chain(a="new")["a"])
    run(chain(a="new")["b"])
    plan = make_plan(project, chain(a="new"))
    assert read_statuses(plan) == {"a": "fresh", "b": "fresh", "c": "computed"}
    assert read_causes(plan)["c"] == [(f"{PIPELINE} setting", "x", "new")]


def test_what_was_never_materialised_says_so(chain: MakeChain, run: Run, project: Project) -> None:
    run(chain()["a"])
    plan = make_plan(project, chain())
    assert read_statuses(plan) == {"a": "fresh", "b": "computed", "c": "computed"}
    assert read_causes(plan)["b"] == [("b: never materialised", None, None)]


def test_code_libraries_and_numerics_are_causes(chain: MakeChain, run: Run, project: Project) -> None:
    run_all(chain(), run)
    graph = chain()
    graph["b"] = change(
        graph["b"], code_version="2", engine=("pyarrow", "numpy"), numerics=NumericsSettings(device="cpu")
    )
    assert read_causes(make_plan(project, graph))["c"] == [
        ("code of b", "1", "2"),
        ("library numpy", None, version("numpy")),
        (f"{PIPELINE} numerics.num_threads", None, "1"),
        (f"{PIPELINE} numerics.device", None, "cpu"),
    ]


def test_settings_are_told_where_a_person_finds_them(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    def make(setting: str) -> Stage:
        return change(make_stage("a", setting), origins={"setting": "inputs/judge.yaml: model"})

    run(make("x"))
    [cause] = make_plan(project, {"a": make("y")}).assets[0].causes
    assert (cause.path, cause.old, cause.new) == ("inputs/judge.yaml: model", "x", "y")


def test_a_setting_that_only_an_earlier_release_had_is_still_told(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    stage = change(make_stage("a", "x"), origins={"setting": "inputs/judge.yaml: model"})
    run(change(stage, settings={"setting": "x", "gone": 1}))
    [cause] = make_plan(project, {"a": stage}).assets[0].causes
    assert (cause.path, cause.old, cause.new) == ("inputs/pipeline.yaml: gone", 1, None)


def test_nothing_is_planned_behind_a_gate_that_is_shut(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    run(make_stage("a", "x", gate=False))
    graph = {
        "a": make_stage("a", "x", gate=False),
        "b": make_stage("b", "", ("a",)),
        "c": make_stage("c", "", ("b",)),
    }
    plan = make_plan(project, graph)
    assert read_statuses(plan) == {"a": "fresh", "b": "blocked", "c": "blocked"}
    assert plan.assets[2].blocked_by == ("a: gate",)


def test_a_gate_that_a_cheap_stage_will_shut_is_foreseen(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    def make(setting: str, *, gate: bool) -> Graph:
        return {
            "a": change(make_stage("a", setting, gate=gate), cheap=True),
            "b": make_stage("b", "", ("a",)),
        }

    run_all(make("x", gate=True), run)
    plan = make_plan(project, make("y", gate=False))
    assert read_statuses(plan) == {"a": "computed", "b": "blocked"}


def is_text(path: Path, text: str) -> bool:
    return path.read_bytes() == text.encode()


def test_a_version_whose_bytes_are_lost_is_made_again(chain: MakeChain, run: Run, project: Project) -> None:
    run_all(chain(), run)
    output = project.ledger.find_heads()["b"].output
    [stored] = [
        path for path in project.store.cache.folder.rglob("*") if path.is_file() and is_text(path, "y x")
    ]
    stored.unlink()
    plan = make_plan(project, chain())
    assert read_statuses(plan) == {"a": "fresh", "b": "computed", "c": "perhaps"}
    reason = [("b: its bytes are in no store", output.digest, None)]
    assert read_causes(plan) == {"a": [], "b": reason, "c": reason}


def test_rows_that_are_tried_again_make_an_asset_stale(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    good = make_stage("a", "x")

    def compute(context: StageContext) -> StageResult:
        return replace(good.compute(context), num_open=2)

    stage = change(good, compute=compute)
    run(stage)
    plan = make_plan(project, {"a": stage})
    assert read_statuses(plan) == {"a": "computed"}
    [cause] = plan.assets[0].causes
    assert cause.path == "a: 2 rows without a result are tried again"


def test_an_asset_that_does_not_exist_is_named(chain: MakeChain, project: Project) -> None:
    with pytest.raises(InputError, match=r"no asset 'd'.*\n.*name one of a, b, c"):
        make_plan(project, chain(), ["d"])


def test_only_the_assets_asked_for_and_their_ancestors_are_planned(
    chain: MakeChain, project: Project
) -> None:
    assert list(read_statuses(make_plan(project, chain(), ["b"]))) == ["a", "b"]


def test_the_two_worlds_bound_the_price(chain: MakeChain, run: Run, project: Project) -> None:
    """b is made again at a cost; c costs 5 if b comes out anew, and nothing if b comes out as it was."""

    def with_prices(graph: Graph) -> Graph:
        def price(calls: int) -> Callable[[PriceContext], Price]:
            return lambda _: Price(judge_calls=Range(min=calls, max=calls), tokens=None)

        return graph | {name: change(graph[name], price=price(calls)) for name, calls in (("b", 3), ("c", 5))}

    run_all(chain(), run)
    plan = make_plan(project, with_prices(chain(a="new")))
    assert {item.asset: item.price.judge_calls for item in plan.assets} == {
        "a": Range(),
        "b": Range(min=3, max=3),
        "c": Range(min=0, max=5),
    }
    assert plan.price.judge_calls == Range(min=3, max=8)
    assert plan.price.tokens is None
    assert make_plan(project, with_prices(chain())).price.judge_calls == Range()


def test_rows_reused_are_those_that_are_reused_for_sure(chain: MakeChain, run: Run, project: Project) -> None:
    """b reuses 4 rows and 6 calls. c reuses 9 and 8 if b comes out anew; as b was it is not made, and reuses none."""

    def price(rows: int, calls: int) -> Callable[[PriceContext], Price]:
        return lambda _: Price(rows_reused=rows, judge_calls_reused=calls)

    run_all(chain(), run)
    graph = chain(a="new")
    graph |= {"b": change(graph["b"], price=price(4, 6)), "c": change(graph["c"], price=price(9, 8))}
    plan = make_plan(project, graph)
    assert {item.asset: (item.price.rows_reused, item.price.judge_calls_reused) for item in plan.assets} == {
        "a": (0, 0),
        "b": (4, 6),
        "c": (0, 0),
    }
    assert (plan.price.rows_reused, plan.price.judge_calls_reused) == (4, 6)

    def price_by_input(context: PriceContext) -> Price:
        return price(2, 1)(context) if context.inputs["b"].digest is None else price(9, 8)(context)

    graph = chain(a="new", c="new")  # c is made in both worlds, and reuses less where b comes out anew
    graph |= {"b": change(graph["b"], price=price(4, 6)), "c": change(graph["c"], price=price_by_input)}
    c = make_plan(project, graph).assets[2]
    assert (c.status, c.price.rows_reused, c.price.judge_calls_reused) == ("computed", 2, 1)


def test_the_newest_version_is_fresh_by_its_bytes_as_well_as_by_its_recipe(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    """A recipe was made twice and came out otherwise; the second's bytes are lost, so the first is taken again."""
    good = make_stage("a", "x")
    said = iter(("one", "two"))

    def compute(context: StageContext) -> StageResult:
        (context.output / "text").write_text(next(said))
        return StageResult(rows=1)

    stage = change(good, compute=compute)
    first = run(stage)
    second = materialise(project, stage, progress=ignore_progress, again=True)
    assert first.record.recipe == second.record.recipe
    assert read_statuses(make_plan(project, {"a": stage})) == {"a": "fresh"}
    [stored] = [
        path for path in project.store.cache.folder.rglob("*") if path.is_file() and is_text(path, "two")
    ]
    stored.unlink()
    assert read_statuses(make_plan(project, {"a": stage})) == {"a": "reused"}
    again = run(stage)
    assert (again.status, again.record.output) == ("reused", first.record.output)
    assert read_statuses(make_plan(project, {"a": stage})) == {"a": "fresh"}


def test_what_is_foreseen_of_an_output_prices_what_reads_it(
    chain: MakeChain, run: Run, project: Project
) -> None:
    rows = ({"text": "known"}, {"text": None})

    def price_b(context: PriceContext) -> Price:
        folder = context.inputs["a"].open()
        assert folder is not None
        assert (folder / "text").read_text() == "new"
        return Price(output=(Foreseen(rows=rows), Foreseen(rows=rows)))

    def price_c(context: PriceContext) -> Price:
        assert context.inputs["b"].rows == rows
        return Price(judge_calls=Range(min=1, max=2))

    run_all(chain(), run)
    graph = chain(a="new")
    graph |= {"b": change(graph["b"], price=price_b), "c": change(graph["c"], price=price_c)}
    plan = make_plan(project, graph)
    assert read_statuses(plan)["c"] == "computed"
    assert plan.price.judge_calls == Range(min=1, max=2)


def test_ranges_add_up() -> None:
    assert Range(min=1, max=2) + Range(min=3, max=4) == Range(min=4, max=6)
    assert Range(min=1, max=2) + Range(min=3, max=None) == Range(min=4, max=None)
    assert add_ranges([Range(min=1, max=1), Range(min=2, max=3)]) == Range(min=3, max=4)
    assert add_ranges([Range(min=1, max=1), None]) is None
    assert Range(min=2, max=4).scale(1.5) == Range(min=3, max=6)


def list_changes(old: object, new: object) -> Iterator[tuple[str, object, object]]:
    for found in diff_values(old, new, "file:"):  # type: ignore[arg-type]
        assert isinstance(found, Change)
        yield found.path, found.old, found.new


def test_a_difference_is_told_at_the_deepest_path() -> None:
    old = {"a": {"b": 1, "c": True}, "names": [{"id": "x", "w": 1}, {"id": "y", "w": 2}], "list": [1, 2]}
    new = {"a": {"b": 1.0, "c": True}, "names": [{"id": "y", "w": 3}, {"id": "z", "w": 4}], "list": [1]}
    assert list(list_changes(old, new)) == [
        ("file: a.b", 1, 1.0),
        ("file: names[x]", {"id": "x", "w": 1}, None),
        ("file: names[y].w", 2, 3),
        ("file: names[z]", None, {"id": "z", "w": 4}),
        ("file: list", [1, 2], [1]),
    ]
    assert list(list_changes({"j": [{"m": 1}, {"m": 2}]}, {"j": [{"m": 1}, {"m": 3}]})) == [
        ("file: j[1].m", 2, 3)
    ]
    assert list(list_changes(old, {**old})) == []
    assert list(list_changes({}, {"new": 0})) == [("file: new", None, 0)]


def test_no_version_is_left_in_the_folder_of_temporary_files(
    chain: MakeChain, run: Run, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    run_all(chain(), run)
    make_plan(project, chain(a="new"))
    assert list(temporary.iterdir()) == []


@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), min_size=1, max_size=3),
    hidden=st.sets(st.integers(min_value=0, max_value=14)),
    cap=st.none() | st.integers(min_value=1, max_value=10),
    seed=st.integers(min_value=0, max_value=3),
)
def test_pairs_that_are_foreseen_are_formed_and_no_more_than_foreseen(
    texts: list[list[str]], hidden: set[int], cap: int | None, seed: int
) -> None:
    """Whatever the texts turn out to be that are yet to be sampled; if none is, all pairs are foreseen."""
    rows = [
        {"response_id": f"{prompt}-{index}", "prompt_id": str(prompt), "text": text}
        for prompt, group in enumerate(texts)
        for index, text in enumerate(group)
    ]
    told = [{**row, "text": None} if number in hidden else row for number, row in enumerate(rows)]
    pairing = PairingSettings(max_pairs_per_prompt=cap)
    certain, num_open = foresee_pairs(told, pairing, seed)
    formed = form_pairs(rows, pairing, seed).pairs
    by_id = {row["response_id"]: row["text"] for row in rows}

    def read(pairs: tuple[Pair, ...]) -> set[tuple[str, frozenset[str]]]:
        return {(p.prompt_id, frozenset((by_id[p.response_a], by_id[p.response_b]))) for p in pairs}

    assert read(certain) <= read(formed)
    assert len(certain) <= len(formed) <= len(certain) + num_open
    if all(row["text"] is not None for row in told):
        assert (certain, num_open) == (formed, 0)


def test_a_setting_that_the_code_no_longer_has_is_a_cause(
    make_stage: MakeStage, run: Run, project: Project
) -> None:
    """A stage may name a place for each of its settings; an older version had one more."""
    stage = change(make_stage("a", "x"), origins={"setting": f"{PIPELINE} a.setting"})
    run(change(stage, settings={"setting": "x", "removed": 1}))
    assert read_causes(make_plan(project, {"a": stage})) == {"a": [(f"{PIPELINE} removed", 1, None)]}


def test_a_range_that_holds_two_is_their_span_and_has_no_end_where_one_has_none() -> None:
    assert Range(min=5, max=6).cover(Range(min=0, max=4)) == Range(min=0, max=6)
    assert Range(min=1, max=2).cover(Range(min=3, max=None)) == Range(min=1, max=None)
