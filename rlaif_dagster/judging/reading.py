"""Reading what a judge wrote: only an unambiguous verdict is taken."""

import re

from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import Preference

_DECORATION = re.compile(r"^[\s*_`\"'\[\](){}.:]+|[\s*_`\"'\[\](){}.:]+$")


def read_verdict(text: str, template: Template) -> Preference | None:
    """Reads a comparison's verdict; None unless the text says exactly one.

    Args:
        text: What the judge wrote.
        template: The prompt that it was asked with, which says how a verdict is spelled.
    """
    said = _find_statement(text, template)
    if said is None:
        return None
    for preference, word in template.verdicts.items():
        if said.casefold() == word.casefold():
            return preference
    return None


def read_rating(text: str, template: Template) -> float | None:
    """Reads a rating; None unless the text gives exactly one whole number on the template's scale."""
    said = _find_statement(text, template)
    if said is None or template.scale is None or not re.fullmatch(r"[0-9]{1,4}", said):
        return None
    lowest, highest = template.scale
    return float(said) if lowest <= int(said) <= highest else None


def _find_statement(text: str, template: Template) -> str | None:
    """The words that state the verdict: the whole reply, or the rest of its one verdict line."""
    if template.verdict_line is None:
        return _DECORATION.sub("", text)
    stated = {
        _DECORATION.sub("", line.split(template.verdict_line, 1)[1])
        for line in text.splitlines()
        if line.lstrip(" *_#").startswith(template.verdict_line)
    }
    return stated.pop() if len(stated) == 1 else None
