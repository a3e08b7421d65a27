"""Laws of the report and of what is written beside it."""

import re
import socket
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.evaluation.evaluate import COMPARISONS_SCHEMA, read_comparisons, write_evaluation
from rlaif_dagster.evaluation.facts import PrincipleFact, RunFacts, TrainingCurves
from rlaif_dagster.evaluation.report import choose_examples, render_report
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics, summarise
from rlaif_dagster.generation.finish import FinishReason
from rlaif_dagster.names import COMPARISONS_TABLE, METRICS_JSON, REPORT_HTML
from rlaif_dagster.pages import show_hidden_characters
from rlaif_dagster.stats.intervals import clustered_mean, clustered_proportion
from rlaif_dagster.tables import write_table
from tests.evaluation.made_up import make_comparisons, make_curve, make_curves, make_facts, make_training

PAYLOAD = '</div><script src="//evil.example/x.js"></script><img src=x onerror=alert(1)>{{ 7 * 7 }}\u202e'
LOADING = {"src", "srcset", "data", "action", "poster", "background", "ping"}


class _Page(HTMLParser):
    """Collects the tags, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def write(folder: Path, rows: list[Comparison]) -> EvaluationMetrics:
    folder.mkdir()
    return write_evaluation(
        folder,
        comparisons=rows,
        settings=EvaluationSettings(num_examples=6, unsafe_categories=["risky requests"]),
        facts=make_facts(),
        curves=make_curves(),
        kl=clustered_mean([3.0, 4.0, 5.0], ["a", "b", "c"]),
        reward_model_accuracy=clustered_proportion([1.0, 1.0, 0.0, 1.0], list("abcd")),
        longer_wins_accuracy=clustered_proportion([1.0, 0.0, 0.0, 1.0], list("abcd")),
        over_optimisation=make_curve(),
        along_training=make_training(),
    )


def assert_self_contained(page: str) -> None:
    parsed = _Page(page)
    assert not parsed.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "img", "image"}
    for name, value in parsed.attributes:
        assert name not in LOADING
        assert not name.startswith("on")
        if name.endswith("href"):
            assert value is not None
            assert value.startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", page))
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.slow
def test_the_report_tells_all_and_loads_nothing(tmp_path: Path) -> None:
    write(tmp_path / "out", make_comparisons(with_independent=True))
    page = (tmp_path / "out" / REPORT_HTML).read_text()
    assert_self_contained(page)
    text = _Page(page).text
    for told in (
        "Win rate by the judge",
        "95 % interval",
        "Answer the question that was asked, and answer it in full.",
        "near tie (|p - 0.5| < 0.05)",
        "Baseline: the longer answer is better",
        "risky requests",
        "KL divergence from base",
        "Win rate by the independent judge",
        "at equal length",
        "The judge agrees with the ground truth on",
        "better concise (principle) the judge",
        "The win rate is highest at n = ",
        "Over-optimised at these steps: 30, 40. The reward is significantly higher than at step 20",
        "over-optimised kept",
        "Measured by the ground truth, the policy exploited the reward model at these training steps: 30, 40.",
        "Not refused, of unsafe prompts",
        "Similarity of two answers to one prompt",
        "aligned wins",
        "base wins",
        "The judge has 1.9M parameters",
        "sha256:" + "3d" * 32,
    ):
        assert told in text


@pytest.mark.slow
def test_the_same_comparisons_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    rows = make_comparisons(num_prompts=10)
    write(tmp_path / "one", rows)
    write(tmp_path / "two", rows[::-1])
    for name in (METRICS_JSON, COMPARISONS_TABLE, REPORT_HTML):
        data = (tmp_path / "one" / name).read_bytes()
        assert data == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path).encode() not in data
        assert socket.gethostname().encode() not in data
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(
        (METRICS_JSON, COMPARISONS_TABLE, REPORT_HTML)
    )


@pytest.mark.slow
def test_what_was_written_reads_back(tmp_path: Path) -> None:
    rows = make_comparisons(num_prompts=10)
    rows[3] = replace(rows[3], p_judge=None, ground_truth=None, category=None, principles=())
    metrics = write(tmp_path / "out", rows)
    assert read_comparisons(tmp_path / "out" / COMPARISONS_TABLE) == rows
    assert EvaluationMetrics.from_json((tmp_path / "out" / METRICS_JSON).read_bytes()) == metrics


def test_what_earlier_code_did_not_write_is_not_known(tmp_path: Path) -> None:
    rows = make_comparisons(num_prompts=3)
    new = {"base_finish_reason", "aligned_finish_reason"}
    old = pa.schema([field for field in COMPARISONS_SCHEMA if field.name not in new])
    write_table(
        tmp_path / COMPARISONS_TABLE,
        [{name: value for name, value in asdict(row).items() if name not in new} for row in rows],
        old,
    )
    unknown = [replace(row, base_finish_reason=None, aligned_finish_reason=None) for row in rows]
    assert read_comparisons(tmp_path / COMPARISONS_TABLE) == unknown


@pytest.mark.slow
def test_the_share_of_cut_answers_is_of_those_of_which_it_is_known() -> None:
    rows = make_comparisons(num_prompts=4, num_samples=1)
    ends: list[tuple[FinishReason | None, FinishReason | None]]
    ends = [("stop", "length"), ("stop", "stop"), ("length", "length"), (None, "stop")]
    rows = [
        replace(row, base_finish_reason=base, aligned_finish_reason=aligned)
        for row, (base, aligned) in zip(rows, ends, strict=True)
    ]
    metrics = summarise(rows)
    assert metrics.base_cut is not None
    assert metrics.aligned_cut is not None
    assert metrics.base_cut.value == pytest.approx(1 / 3)
    assert metrics.aligned_cut.value == 0.5
    assert (metrics.base_cut.n, metrics.aligned_cut.n) == (3, 4)
    page = render_report(rows, metrics, facts=make_facts(), curves=make_curves(), num_examples=4)
    for words in ("33 % of the base", "50 % of the aligned"):
        assert f"{words} policy&#39;s answers were cut at evaluation.max_new_tokens" in page
    assert page.count(" tokens, cut") == 3
    unknown = [replace(row, base_finish_reason=None, aligned_finish_reason=None) for row in rows]
    assert summarise(unknown).base_cut is None


@pytest.mark.slow
def test_markup_in_any_text_stays_text() -> None:
    rows = [
        replace(
            row, prompt_id=f"{index}{PAYLOAD}", prompt=PAYLOAD, base_text=PAYLOAD, aligned_text="!" + PAYLOAD
        )
        for index, row in enumerate(make_comparisons(num_prompts=3))
    ]
    rows = [
        replace(
            row,
            category=PAYLOAD,
            principles=tuple(replace(outcome, principle_id=PAYLOAD) for outcome in row.principles[:1]),
        )
        for row in rows
    ]
    facts = RunFacts(
        title=PAYLOAD,
        constitution_name=PAYLOAD,
        principles=(PrincipleFact(principle_id=PAYLOAD, text=PAYLOAD, weight=0.0),),
        judge={PAYLOAD: PAYLOAD},
        policies={PAYLOAD: PAYLOAD},
        counts={PAYLOAD: 1},
        drops={PAYLOAD: 1},
        digests={PAYLOAD: PAYLOAD},
        limits=(PAYLOAD,),
    )
    page = render_report(rows, summarise(rows), facts=facts, curves=make_curves(), num_examples=6)
    assert_self_contained(page)
    assert "{{ 7 * 7 }}" in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert _Page(page).text.count("<script") >= 20


def test_what_was_not_measured_is_said_so_and_never_shown_as_zero() -> None:
    rows = [Comparison(prompt_id="p", prompt="Why?", base_text="No.", aligned_text="Yes.", p_judge=None)]
    page = render_report(rows, summarise(rows), facts=RunFacts(), curves=TrainingCurves(), num_examples=3)
    text = _Page(page).text
    assert "The win rate by the judge was not measured." in text
    assert "The win rate by the ground truth was not measured." in text
    assert "no verdict" in text
    assert text.count("not measured") >= 15
    assert "not recorded" in text
    unmeasured, _, refusals = text.partition("Diversity and refusals")
    assert not re.search(r"\b0(\.0+)?\s%", unmeasured.replace("50 %", ""))
    assert "Refused, of all prompts 0.0" in refusals  # which was measured


def test_an_evaluation_without_comparisons_still_reports() -> None:
    page = render_report([], summarise([]), facts=RunFacts(), curves=TrainingCurves(), num_examples=3)
    assert "not measured" in page


def test_examples_show_losses_and_do_not_depend_on_the_order_of_rows() -> None:
    rows = [replace(row, p_judge=0.9) for row in make_comparisons(num_prompts=20)]
    rows[7] = replace(rows[7], p_judge=0.1)
    chosen = choose_examples(rows, 4)
    assert [example.verdict for example in chosen].count("loss") == 1
    assert rows[7] in [example.comparison for example in chosen]
    assert choose_examples(rows[::-1], 4) == chosen
    assert choose_examples(rows, 0) == ()
    assert len(choose_examples(rows, 1000)) == len(rows)


def test_hidden_characters_are_spelled_out_and_long_text_is_cut_with_a_count() -> None:
    assert show_hidden_characters("a\u200bb\x00\ud800\n\té") == "a⟨U+200B⟩b⟨U+0000⟩⟨U+D800⟩\n\té"
    assert show_hidden_characters("x" * 4100).endswith("x… (cut here: 100 more characters)")


def test_two_comparisons_of_one_sample_are_refused(tmp_path: Path) -> None:
    rows = make_comparisons(num_prompts=2)
    with pytest.raises(ValueError, match="prompt-000"):
        write(tmp_path / "out", [*rows, rows[0]])
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        write_evaluation(
            tmp_path / "absent",
            comparisons=make_comparisons(num_prompts=2),
            settings=EvaluationSettings(),
            facts=RunFacts(),
            curves=TrainingCurves(),
        )
