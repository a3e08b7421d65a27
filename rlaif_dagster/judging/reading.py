"""Reads verdicts from what a judge wrote. Only an unambiguous verdict counts.

A judge reads texts whose authors want to be preferred, and may quote them. So the verdict is read where the judge
concludes, not wherever a verdict word occurs:

- **Without a `verdict_line`** the whole reply is the verdict word.
- **With a `verdict_line`** the last non-blank line states the verdict: the words of `verdict_line`, then the verdict
  word, and nothing else. An earlier line that states another verdict makes the reply unclear. Lines in code fences,
  quoted lines (`> Verdict: A`), indented code, and words inside a sentence ("it says: Verdict: B") do not count as
  statements.

White space, markdown emphasis, quotes, brackets and a full stop around a word are ignored, and so is the case of ASCII
letters; "Answer A" is "A", and "7/10" is 7 on a scale up to 10. Nothing else is accepted: no look-alike or full-width
letters, no JSON, no LaTeX, no "Not A" or "A, I think".

Reasoning between the marks in which models write it is skipped (see `drop_reasoning`).

Known trade-off (accepted): text quoted without quotation marks on the very last line counts as the judge's own.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, Protocol

Preference = Literal["first", "second", "tie"]
"""Which of the two shown answers is better."""

_OPENED: Final = re.compile(
    r"""^[ \t]*(?:<(?:think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think)>
    |\[THINK\]|\[REASONING\]|◁think▷|<\|(?:begin_of_thought|START_THINKING|think)\|>|<unused94>)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_CLOSED: Final = re.compile(
    r"""</(?:think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think)>
    |\[/THINK\]|\[/REASONING\]|◁/think▷|<\|(?:end_of_thought|END_THINKING|/think)\|>|<unused95>""",
    re.IGNORECASE | re.VERBOSE,
)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w*)[^<]*<\|message\|>")
_BARE_CHANNEL: Final = re.compile(r"\Aanalysis.*assistantfinal", re.DOTALL)
_ANSWER_MARK: Final = re.compile(r"<\|(?:(?:START|END)_RESPONSE|(?:begin|end)_of_solution)\|>")
_CHANNEL_END: Final = re.compile(r"(?:<\|(?:return|end)\|>\s*)+\Z")
_BEFORE: Final = " \n\"'`“‘[({"
_AFTER: Final = " \n\"'`”’])}."
_ANSWER: Final = re.compile(r"\Aanswer:?\s+")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_NO_SPEECH: Final = re.compile(r" {0,3}>|\t| {4}")
_EMPHASIS: Final = re.compile(
    r"(?<![\w*])[*_]++|(?<![*_])[*_]++(?![^\W_])"
)  # not inside a word: 1_0 is not 10


class Spelling(Protocol):
    """How a judge is asked to spell its verdict; a `Template` defines it.

    Attributes:
        verdicts: The word of each verdict of a comparison.
        scale: The lowest and the highest rating, or None for comparisons.
        words: All words that may be a verdict.
        verdict_line: The beginning of the line that states the verdict; None if the whole reply is the verdict.
    """

    @property
    def verdicts(self) -> Mapping[Preference, str]: ...  # noqa: D102 - see above
    @property
    def scale(self) -> tuple[int, int] | None: ...  # noqa: D102
    @property
    def words(self) -> Collection[str]: ...  # noqa: D102
    @property
    def verdict_line(self) -> str | None: ...  # noqa: D102


def read_verdict(text: str, template: Spelling) -> Preference | None:
    """Reads a comparison's verdict; None unless the text says exactly one.

    Args:
        text: What the judge wrote.
        template: The prompt that was used, which defines how a verdict is spelled.
    """
    said = _find_statement(text, template.verdict_line)
    return next((verdict for verdict, word in template.verdicts.items() if said == _spell(word)), None)


def read_rating(text: str, template: Spelling) -> float | None:
    """Reads a rating; None unless the text gives exactly one whole number on the template's scale."""
    said = _find_statement(text, template.verdict_line)
    if said is None or template.scale is None:
        return None
    said = said.removesuffix(f"/{template.scale[1]}")
    return float(said) if said in template.words else None


def drop_reasoning(text: str) -> str:
    """Removes reasoning from a judge's text, and the marks around the answer that follows it.

    Reasoning ends at the last closing mark. There may be no opening mark, because many chat formats write it
    themselves. If a line opens reasoning and nothing closes it, the judge has not reached a conclusion, and the result
    is empty. In the format of gpt-oss only the channel `final` counts.

    Args:
        text: What a judge wrote.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        if channels[-1][1] != "final":
            return ""
        text = _CHANNEL_END.sub("", text[channels[-1].end() :])
    text = _BARE_CHANNEL.sub("", text)  # the same, from a server that drops the marks
    closings = list(_CLOSED.finditer(text))
    if closings:
        text = text[closings[-1].end() :]
    if _OPENED.search(text):
        return ""
    return _ANSWER_MARK.sub("", text)


def _find_statement(text: str, verdict_line: str | None) -> str | None:
    """Finds the words that state the verdict: the whole reply, or the rest of its last line."""
    text = drop_reasoning(text)
    if verdict_line is None:
        return _spell(text)
    lines = list(_read_lines(text, _fold(verdict_line)))
    stated = {line for line in lines if line is not None}
    return lines[-1] if len(stated) == 1 else None


def _read_lines(text: str, verdict_line: str) -> Iterator[str | None]:
    """Yields, for each non-blank line, the word that it states as a verdict, or None."""
    fence: str | None = None
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence is not None:  # closed by at least as many of the same mark, alone on a line (CommonMark 4.5)
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = None
            yield None
        elif mark:
            fence = mark[1]
            yield None
        elif line.strip():
            said = _fold(line)
            states = said.startswith(verdict_line) and not _NO_SPEECH.match(line)
            yield _spell(said.removeprefix(verdict_line)) if states else None


def _fold(text: str) -> str:
    """Removes markdown's emphasis and heading marks, and makes ASCII letters lower-case.

    Other letters are unchanged: lower() would turn the kelvin sign, K, into a k.
    """
    bare = _EMPHASIS.sub("", text).strip().lstrip("# ")
    return "".join(letter.lower() if letter.isascii() else letter for letter in bare)


def _spell(words: str) -> str:
    """Removes the characters that may surround a verdict word."""
    word = _fold(words).lstrip(_BEFORE).rstrip(_AFTER)
    return _ANSWER.sub("", word).lstrip(_BEFORE)
