"""Cutting answers that are too long for the judge."""

from collections.abc import Mapping


def cut_texts(texts: Mapping[str, str], max_chars: int | None) -> tuple[Mapping[str, str], bool]:
    """Cuts the answers among a call's texts; says whether any was cut."""
    shown = {
        name: text[:max_chars] if name in ("first", "second", "answer") else text
        for name, text in texts.items()
    }
    return shown, shown != dict(texts)
