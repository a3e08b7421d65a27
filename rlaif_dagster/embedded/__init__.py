"""The embedded default: a small world with known truth, and two tiny models that live in it.

The room holds `lexicon` and `world` (questions, answers, grammar), `gold` (what each principle says),
`corpus` (training texts), `make_weights` (the script that made `models/`) and `MODEL_CARD.md`.
"""

from pathlib import Path
from typing import Final, Literal, get_args

EmbeddedName = Literal["policy", "judge"]
EMBEDDED_PREFIX: Final = "embedded:"

_FOLDER = Path(__file__).parent
MODEL_CARD_PATH: Final = _FOLDER / "MODEL_CARD.md"


def model_path(name: EmbeddedName) -> Path:
    """Gives the folder of an embedded model, as `from_pretrained` opens it."""
    return _FOLDER / "models" / name


def resolve_embedded(name: str) -> Path | None:
    """Gives the folder that `embedded:policy` or `embedded:judge` names; None for any other name.

    A name with the prefix and an unknown rest is also None: the caller knows the file and field to blame.
    """
    for known in get_args(EmbeddedName):
        if name == EMBEDDED_PREFIX + known:
            return model_path(known)
    return None
