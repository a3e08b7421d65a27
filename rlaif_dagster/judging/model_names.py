"""Finds models that a file's name mentions and its rows do not, by the model families in names."""

import re
from collections.abc import Iterable
from typing import Final

FAMILIES: Final = (
    "alpaca",
    "claude",
    "command",
    "deepseek",
    "dolly",
    "falcon",
    "gemini",
    "gemma",
    "gpt",
    "koala",
    "llama",
    "mistral",
    "mixtral",
    "palm",
    "phi",
    "qwen",
    "vicuna",
    "wizardlm",
    "zephyr",
)
"""The first words of model names; other words in a file name mention no model."""

Mention = tuple[str, ...]
"""A family with the version numbers and sizes after it, such as `("gpt", "4", "0613")`."""

_TOKEN = re.compile(r"[a-z0-9]+")
_FUSED = re.compile(rf"({'|'.join(FAMILIES)})(\d.*)?")


def find_mentions(text: str) -> list[Mention]:
    """Lists the models that a text mentions."""
    mentions: list[list[str]] = []
    is_open = False
    for token in _TOKEN.findall(text.lower()):
        family = _FUSED.fullmatch(token)
        if family is not None:
            mentions.append([part for part in family.groups() if part])
            is_open = True
        elif is_open and any(letter.isdigit() for letter in token):
            mentions[-1].append(token)
        else:
            is_open = False
    return [tuple(mention) for mention in mentions]


def find_contradictions(file_name: str, names: Iterable[str]) -> list[str]:
    """Lists the models that a file's name mentions but that match no name in its rows.

    A mention may be shorter or longer than the name, as `gpt-4` and `gpt-4-0613` are. Rows that mention no model
    contradict nothing.

    Args:
        file_name: The file's name.
        names: The names of judges or sources in its rows.
    """
    known = [mention for name in names for mention in find_mentions(name)]
    return [
        "-".join(told)
        for told in find_mentions(file_name)
        if known and not any(told[: len(name)] == name[: len(told)] for name in known)
    ]
