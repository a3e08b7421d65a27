"""The check of coverage shows what the judge said where it gave no usable verdict."""

from dataclasses import asdict
from pathlib import Path

from rlaif_dagster.graph.coverage import LONGEST_SAMPLE, MOST_SAMPLES, check_coverage
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.verdicts import Verdict, VerdictStatus, judgements_schema
from rlaif_dagster.tables import write_table

TABLE = "judgements.parquet"


Said = tuple[VerdictStatus, str | None, str | None]


def repeat(said: Said, times: int) -> list[Said]:
    return [said] * times


def write_verdicts(folder: Path, *said: Said) -> None:
    """Writes a verdict for each status, text and reason."""
    verdicts = [
        Verdict(
            verdict_id=str(place),
            pair_id="p",
            prompt_id="q",
            response_a="a",
            response_b="b",
            order="ab",
            principle_id=None,
            judge="j",
            repeat=place,
            status=status,
            p_first=None,
            verdict="first" if status == "ok" else None,
            answers=(
                Reply(
                    call_id=str(place),
                    status="ok" if status == "unparsed" else status,
                    text=text,
                    reason=reason,
                ),
            ),
        )
        for place, (status, text, reason) in enumerate(said)
    ]
    write_table(folder / TABLE, map(asdict, verdicts), judgements_schema())


def test_samples_are_the_most_frequent_short_and_on_one_line(tmp_path: Path) -> None:
    write_verdicts(
        tmp_path,
        ("ok", "A", None),
        ("failed", None, "HTTP 500: oh"),
        *repeat(("unparsed", "Both\n\x1b[31m are\u202e good.", None), 3),
        *repeat(("unparsed", "x" * 1000, None), 2),
        ("refused", "I will not.", "content filter"),
        *repeat(("unparsed", "", None), 2),
    )
    result = check_coverage(TABLE, 0.5).ask(tmp_path, {})
    assert not result.passed
    assert result.facts["samples"] == [
        "unparsed: Both [31m are good.",
        f"unparsed: {'x' * LONGEST_SAMPLE}…",
        "unparsed: (nothing was written)",
    ]
    assert (result.facts["num_ok"], result.facts["num_asked"], MOST_SAMPLES) == (1, 10, 3)


def test_reasons_are_shown_where_nothing_was_said(tmp_path: Path) -> None:
    write_verdicts(tmp_path, ("failed", None, "HTTP 400: too long"), ("refused", "B", "content filter"))
    samples = check_coverage(TABLE, 0.5).ask(tmp_path, {}).facts["samples"]
    assert samples == ["failed: HTTP 400: too long", "refused: content filter"]


def test_where_coverage_is_enough_nothing_is_shown(tmp_path: Path) -> None:
    write_verdicts(tmp_path, ("ok", "A", None), ("unparsed", "hm", None))
    result = check_coverage(TABLE, 0.5).ask(tmp_path, {})
    assert result.passed
    assert set(result.facts) == {"required", "coverage", "num_ok", "num_asked"}
