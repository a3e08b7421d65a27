"""Bounds of tokens and fees: they hold with a real tokenizer, for a judge never asked and for a jury."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rlaif_dagster.cli.plan import plan_command
from rlaif_dagster.graph.fees import FeeMeter
from rlaif_dagster.graph.price import NOTHING, Price, Range, add_prices
from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.lineage.plan import PlannedAsset, make_plan
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.models import embedded_path
from tests.graph.planted_project import make_planted, run_to

TOKENIZER = Tokenizer.from_file(str(embedded_path("judge") / "tokenizer.json"))
JUDGE: dict[str, Any] = {
    "provider": "openai",
    "model": "dear",
    "base_url": "http://localhost:1/v1",
    "api_key_env": None,
    "template": "compact",
    "max_tokens": 5,
    "price": {"input_per_million": 2.0, "output_per_million": 10.0, "currency": "EUR"},
}
CHEAP = {**JUDGE, "model": "fair", "price": {**JUDGE["price"], "input_per_million": 0.5}}


@pytest.fixture
def project(default_project: Path) -> Project:
    """Answers are known, and nothing was judged: 24 prompts, 6 pairs each, 2 principles, 2 orders, 576 calls."""
    make_planted(default_project)
    run_to(default_project, "prompts", "sampled_responses", "constitution")
    return Project.open(default_project)


def plan(project: Project, judge: dict[str, Any]) -> dict[str, PlannedAsset]:
    (project.root / "inputs" / "judge.yaml").write_text(json.dumps(judge))
    return {item.asset: item for item in make_plan(project, project.build_graph()).assets}


def count_tokens(message: str) -> int:
    return len(TOKENIZER.encode(message, add_special_tokens=False).ids)


def test_a_judge_never_asked_has_bounds_that_hold_with_a_real_tokenizer(project: Project) -> None:
    price = plan(project, JUDGE)["judgements"].price
    assert price.judge_calls == Range(min=576, max=576)
    rows = [
        json.loads(line) for line in (project.root / "inputs" / "responses.jsonl").read_text().splitlines()
    ]
    template, read = load_template("compact"), 0
    for prompt in {row["prompt"] for row in rows}:
        texts = [row["text"] for row in rows if row["prompt"] == prompt]
        for principle in ("Be kind.", "Be brief."):
            for first in texts:
                for second in texts:
                    if first != second:
                        asked = {"principle": principle, "prompt": prompt, "first": first, "second": second}
                        (message,) = template.render(asked)
                        read += count_tokens(message["content"])
    assert price.tokens is not None and price.tokens.max is not None
    assert price.tokens.min < read + 576 < read + 5 * 576 < price.tokens.max
    assert price.cost is not None and price.cost.max is not None
    assert price.cost.min < (2 * read + 10 * 576) / 1e6 < (2 * read + 10 * 5 * 576) / 1e6 < price.cost.max


def test_a_jury_costs_what_its_judges_do_and_what_runs_here_is_free(project: Project) -> None:
    """The other reads at a quarter of the price, and writes at the same."""
    alone = plan(project, JUDGE)["judgements"].price
    planted = {"provider": "planted"}
    both = plan(project, {"provider": "jury", "judges": [JUDGE, CHEAP, planted]})["judgements"].price
    assert both.judge_calls == Range(min=3 * 576, max=3 * 576)
    assert alone.cost is not None and both.cost is not None and alone.tokens is not None
    assert both.tokens == alone.tokens + alone.tokens
    written = 576 * 10.0 / 1e6
    assert both.cost.min == pytest.approx(alone.cost.min + (alone.cost.min - written) / 4 + written)


def test_fees_are_told_in_the_currency_of_the_price(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(project, JUDGE)
    plan_command(project.root, ["judgements"], as_json=True)
    out, err = capsys.readouterr()
    total = json.loads(out.splitlines()[-1])["total"]
    assert total["currency"] == "EUR"
    assert total["cost"]["max"] > 0
    assert re.search(r"tokens, [\d.]+ to [\d.]+ EUR in fees", err)


def test_fees_in_several_currencies_have_no_sum() -> None:
    euros, dollars = (Price(cost=Range(min=1, max=2), currency=name) for name in ("EUR", "USD"))
    both = add_prices([euros, euros, NOTHING])
    assert (both.cost, both.currency) == (Range(min=2, max=4), "EUR")
    mixed = add_prices([euros, dollars])
    assert (mixed.cost, mixed.currency) == (None, None)


def test_the_audit_and_the_canary_are_bounded_too_and_so_is_the_whole(project: Project) -> None:
    planned = plan(project, JUDGE)
    for name in ("judge_audit", "judge_canary"):
        price = planned[name].price
        assert price.tokens is not None and price.tokens.min == 0 and price.tokens.max
        assert price.cost is not None and price.cost.max


@pytest.mark.parametrize(
    "judge",
    [
        {name: value for name, value in JUDGE.items() if name != "price"},
        {"provider": "jury", "judges": [JUDGE, {**CHEAP, "price": {**CHEAP["price"], "currency": "USD"}}]},
    ],
)
def test_without_one_price_nothing_is_told(project: Project, judge: dict[str, Any]) -> None:
    price = plan(project, judge)["judgements"].price
    assert (price.tokens, price.cost) == (None, None)


def test_answers_yet_to_be_sampled_have_no_upper_bound(default_project: Path) -> None:
    price = plan(Project.open(default_project), JUDGE)["judgements"].price
    assert price.tokens == price.cost == Range(min=0, max=None)


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> FeeMeter:
    from rlaif_dagster.cli.init import init_command

    folder = tmp_path_factory.mktemp("fees") / "project"
    init_command(folder)
    (folder / "inputs" / "judge.yaml").write_text(json.dumps(JUDGE))
    return FeeMeter(Project.open(folder).read_inputs().judges)


@pytest.mark.slow
@given(first=st.text(), second=st.text())
def test_words_and_bytes_bound_a_real_tokenizer(meter: FeeMeter, first: str, second: str) -> None:
    template = load_template("compact")
    texts = {"principle": "Be kind.", "prompt": "Why?", "first": first, "second": second}
    (message,) = template.render(texts)
    read = count_tokens(message["content"])
    tokens, _ = meter.bound("dear", Call(call_id="", texts=texts, repeat=0))
    assert tokens.max is not None
    assert tokens.min - 1 <= read <= tokens.max - 5
