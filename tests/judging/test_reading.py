"""Of what a judge wrote, only a verdict that can be read in one way is read."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.judging.reading import read_rating, read_verdict
from rlaif_dagster.judging.templates import Template, TemplateMessage, load_template

ASK = (TemplateMessage(role="user", content="..."),)


def make_template(
    verdict_line: str | None = None, scale: tuple[int, int] | None = None, **words: str
) -> Template:
    verdicts: dict[Literal["first", "second", "tie"], str] = {"first": "A", "second": "B", "tie": "C"}
    verdicts.update(words)  # type: ignore[arg-type]
    return Template(
        name="t", messages=ASK, verdicts={} if scale else verdicts, scale=scale, verdict_line=verdict_line
    )


BARE = make_template()
LINE = make_template("Verdict:")


@pytest.mark.parametrize(
    "text",
    [
        "A",
        " a\n",
        "**A**",
        "_A_",
        "`A`",
        '"A"',
        "“A”",
        "(A)",
        "A)",
        "[[A]]",
        "A.",
        "Answer A.",
        "answer: **A**",
        '"Answer: A"',
        "[Answer A]",
        'Answer: "A"',
        "answer (A)",
        "## A",
        "<think>B or A? Verdict: B</think>\n\nA",
        "\u00a0A",
    ],
)
def test_a_reply_of_one_word_is_its_verdict(text: str) -> None:
    assert read_verdict(text, BARE) == "first"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "D",
        "AB",
        "A B",
        "A or B",
        "Not A",
        "not A",
        "A?",
        "A\nB",
        "A\nA",
        "A, I think",
        "I choose A",
        "Neither",
        "A/B",
        "~~A~~",
        "A!",
        '{"verdict": "A"}',
        "\\boxed{A}",
        "$A$",
        "Verdict: A",
        "> A",
        "1_0",
        "-A",
        "\uff21",
        "\u0410",
        "\u0391",
        "\U0001d400",
        "A\u200b",
        "\u202eA",
        "A\u0301",
        "<think>A",
        "<think>A</think>",
        "<|im_start|>A",
        "A</s>",
    ],
)
def test_any_other_reply_has_none(text: str) -> None:
    assert read_verdict(text, BARE) is None


def test_the_words_of_a_template_are_read_as_they_are_spelled() -> None:
    for first, second in (
        ("[[A]]", "[[B]]"),
        ("Output (a)", "Output (b)"),
        ("first_one", "first_two"),
        ("1", "2"),
    ):
        template = make_template(first=first, second=second)
        assert read_verdict(first, template) == "first"
        assert read_verdict(f"**{second}**.", template) == "second"
        assert read_verdict(f"{first} {second}", template) is None
    assert read_verdict("C", BARE) == "tie"
    assert (
        read_verdict("\u212a", make_template(first="k")) is None
    )  # the sign of kelvin, which lower() makes a k


@pytest.mark.parametrize(
    "text",
    [
        "Verdict: A",
        "A is kind.\nVerdict: A\n\n",
        "**Verdict:** A",
        "**Verdict**: A.",
        "## Verdict: [[A]]",
        "verdict: answer a",
        "   Verdict: A",
        "Verdict: A\n\nAs I said:\nVerdict: **A**",
        # What the judge quotes is not what it says.
        "> Verdict: B\nVerdict: A",
        "  > Verdict: B\nVerdict: A",
        "```\nVerdict: B\n```\nVerdict: A",
        "~~~text\nVerdict: B\n~~~\nVerdict: A",
        "````\n```\nVerdict: B\n```\n````\nVerdict: A",
        "    Verdict: B\nVerdict: A",
        "Answer B says: Verdict: B\nVerdict: A",
        'It ends in "Verdict: B".\nVerdict: A',
        "<think>\nVerdict: B\n</think>\nVerdict: A",
    ],
)
def test_after_reasons_the_last_line_states_the_verdict(text: str) -> None:
    assert read_verdict(text, LINE) == "first"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "Verdict:",
        "Verdict:\nA",
        "Verdict: A or B",
        "Verdict: Not A",
        "Verdict: A, since it is kind",
        "Verdict: A Verdict: B",
        "My verdict: A",
        "- Verdict: A",
        "Verdict\uff1a A",
        "V\u0435rdict: A",
        "Verdict: \uff21",
        '{"Verdict": "A"}',
        "\\boxed{Verdict: A}",
        "Verdict: A\nI hope this helps.",
        "Verdict: A\n```",
        # Two statements, whoever made them.
        "Verdict: B\nVerdict: A",
        "Verdict: B\n\nOn reflection:\n\n**Verdict: A**",
        "Verdict: B\u2028Verdict: A",
        "Verdict: hard to say\nVerdict: A",
        "Verdict:\nVerdict: A",
        # What stands in a quotation that the reply ends with.
        "Answer B says: Verdict: B",
        "> Verdict: B",
        "    Verdict: B",
        "```\nVerdict: B\n```",
        "```\nVerdict: B",
        '"\nVerdict: B\n"',
        "<think>Well.\nVerdict: B",
        "```\n~~~\n```\nVerdict: B\n```",
    ],
)
def test_a_reply_whose_end_does_not_state_one_verdict_has_none(text: str) -> None:
    assert read_verdict(text, LINE) is None


PIECES = st.sampled_from(
    [
        "Verdict: {x}",
        "Verdict: {y}",
        "**Verdict:** {x}",
        "> Verdict: {y}",
        "```",
        "~~~",
        "{x}",
        "{y}",
        "[[{x}]]",
        "Answer {y}",
        "{x} or {y}",
        "Not {x}",
        "It says: Verdict: {y}",
        "",
        " ",
        "    Verdict: {y}",
        "<think>",
        "</think>",
        "Well.",
        "Verdict:",
        "\u2028",
        "{x}\u200b",
    ]
)
REPLIES = st.lists(PIECES, max_size=6).map("\n".join)


def fill(text: str, x: str, y: str) -> str:
    return text.replace("{x}", x).replace("{y}", y)


@given(REPLIES, st.sampled_from([BARE, LINE]))
def test_swapping_the_words_swaps_the_verdict(reply: str, template: Template) -> None:
    other = {"first": "second", "second": "first", None: None}
    verdict = read_verdict(fill(reply, "A", "B"), template)
    assert read_verdict(fill(reply, "B", "A"), template) == other[verdict]


@given(REPLIES, st.sampled_from(["A", "B", "C"]), st.sampled_from(["A", "B", "C"]), st.booleans())
def test_two_different_statements_are_never_a_verdict(text: str, one: str, two: str, bold: bool) -> None:
    """Whatever stands before them, two plain lines at the end that state different verdicts leave none."""
    emphasis = "**" if bold else ""
    reply = f"{fill(text, 'A', 'B')}\nVerdict: {one}\n{emphasis}Verdict: {two}{emphasis}"
    verdict = read_verdict(reply, LINE)
    assert verdict is None or one == two
    assert read_verdict(f"{one}\n{two}", BARE) is None
    assert read_verdict(f"{one} {two}", BARE) is None


@given(REPLIES)
def test_a_verdict_is_what_the_last_line_says(reply: str) -> None:
    text = fill(reply, "A", "B")
    verdict = read_verdict(text, LINE)
    if verdict is not None:
        last = [line for line in text.splitlines() if line.strip()][-1]
        assert last.strip("*").startswith("Verdict:")
        assert read_verdict(last, LINE) == verdict


@given(st.text(max_size=12), st.sampled_from([BARE, LINE]))
def test_no_text_breaks_the_reading(text: str, template: Template) -> None:
    said = read_verdict(text, template)
    assert said is None or {"first": "a", "second": "b", "tie": "c"}[said] in text.lower()


@pytest.mark.parametrize(
    ("text", "rating"),
    [("7", 7), (" **7** ", 7), ("[[10]]", 10), ("7.", 7), ("7/10", 7), ("10/10.", 10), ("Answer: 7", 7)],
)
def test_a_rating_is_a_whole_number_of_the_scale(text: str, rating: float) -> None:
    assert read_rating(text, make_template(scale=(1, 10))) == rating
    assert read_rating(f"Good.\nRating: {text}", make_template("Rating:", (1, 10))) == rating


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "11",
        "07",
        "7.5",
        ".7",
        "-7",
        "+7",
        "7 8",
        "7-8",
        "7 or 8",
        "7/5",
        "7 out of 10",
        "seven",
        "7%",
        "\uff17",
        "\u0667",
        "\u00b2",
        "VII",
        "1_0",
        "1**0",
        "1e1",
        "7\n8",
        "Rating: 7\nRating: 8",
        "10/10/10",
    ],
)
def test_any_other_number_is_none(text: str) -> None:
    assert read_rating(text, make_template(scale=(1, 10))) is None
    assert read_rating(f"Good.\nRating: {text}", make_template("Rating:", (1, 10))) is None


@given(st.integers(0, 30), st.integers(0, 15), st.integers(1, 15))
def test_every_number_of_a_scale_is_read_and_no_other(number: int, lowest: int, width: int) -> None:
    scale = (lowest, lowest + width)
    expected = number if lowest <= number <= lowest + width else None
    assert read_rating(str(number), make_template(scale=scale)) == expected


def test_the_packaged_templates_are_read_as_they_ask() -> None:
    cases: list[tuple[str, str, Any]] = [
        ("compact", "A", "first"),
        ("pairwise", "B", "second"),
        ("reasoned", "Answer A is kind, answer B is not.\n\nVerdict: A", "first"),
    ]
    for name, text, expected in cases:
        assert read_verdict(text, load_template(name)) == expected
    assert read_rating("8", load_template("rating")) == 8
    assert read_rating("It is polite.\n\nRating: 8", load_template("reasoned_rating")) == 8
    assert read_verdict("8", load_template("rating")) is None
    assert read_rating("A", load_template("pairwise")) is None
