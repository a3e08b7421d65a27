"""Pages for people, from packaged templates. They load and run nothing, and the same facts give the same bytes.

Texts of people and models are data: markup in them is escaped, and characters that could hide or reorder text are
spelled out.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST_SHOWN = 4000
"""How many characters of a prompt or an answer a page shows; the rest is counted."""
_VISIBLE_CONTROLS = frozenset("\n\t")
_REORDERING = frozenset(
    "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)


def open_pages(package: str) -> "Environment":
    """Opens the templates in a package; their filter `visible` is `show_hidden_characters`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = show_hidden_characters
    return environment


def show_hidden_characters(text: str) -> str:
    """Spells out control, reordering and unpaired characters as ⟨U+202E⟩, and cuts very long text."""
    shown = "".join(
        f"⟨U+{ord(letter):04X}⟩" if _is_hidden(letter) else letter for letter in text[:LONGEST_SHOWN]
    )
    rest = len(text) - LONGEST_SHOWN
    return shown if rest <= 0 else f"{shown}… (cut here: {rest} more characters)"


def _is_hidden(letter: str) -> bool:
    if letter in _VISIBLE_CONTROLS:
        return False
    return letter in _REORDERING or unicodedata.category(letter) in {"Cc", "Cs"}
