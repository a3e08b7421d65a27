"""What earlier versions called things: fields that people write, and figures and columns in stored versions.

A field that was renamed is refused with its new name. A version that an earlier version of this package stored is
read under today's names, so that its readers know one name only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

INPUT_FIELDS: Final[Mapping[str, str]] = {
    "evaluation.gold": "ground_truth",
    "gates.min_gold_agreement": "min_ground_truth_agreement",
    "gold": "ground_truth",
}
"""The field in its section, or alone at the top of its file or line: its name now."""

STORED: Final[Mapping[str, str]] = {
    "gold": "ground_truth",
    "gold_a": "ground_truth_a",
    "gold_b": "ground_truth_b",
    "gold_tie": "ground_truth_tie",
    "judge_gold_agreement": "judge_ground_truth_agreement",
    "kappa_gold": "kappa_ground_truth",
    "length_controlled_gold": "length_controlled_ground_truth",
    "prefers_longer_gold_fixed": "prefers_longer_ground_truth_fixed",
    "self_preference_gold": "self_preference_ground_truth",
    "truth": "reference",
    "win_rate_gold": "win_rate_ground_truth",
}
"""A figure, a field or a column: its name now."""

CHECKS: Final[Mapping[str, str]] = {"min_gold_agreement": "min_ground_truth_agreement"}
"""A check, as the record of an earlier version calls it: its name now."""

_NAMED_BY_PEOPLE: Final[Mapping[str, int]] = {"judges": 1, "principles": 1, "sources": 2, "raters": 1}
"""Fields in which names that people gave stand, and at how many depths."""
_UNCHANGED: Final = frozenset({"calibration", "injection", "policy"})
"""Fields in which no name was changed, and in which names that people gave stand."""
_WHO: Final = frozenset({"source", "scorer", "reference"})
"""Fields that say who compared two answers."""


def find_new_name(location: Sequence[int | str]) -> str | None:
    """What a field is called now; None if no earlier version had it.

    Args:
        location: The steps to the field in its file, list places among them.
    """
    names = [step for step in location if isinstance(step, str)]
    return INPUT_FIELDS.get(".".join(names[-2:]))


def update_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under today's names; what stands in them stays as it is."""
    return {STORED.get(name, name): item for name, item in value.items()}


def update_names(value: Any, *, of_people: int = 0) -> Any:
    """A stored JSON value under today's names, at every depth.

    Args:
        value: The value, such as `metrics.json` as a whole.
        of_people: At how many depths the names of fields are people's own.
    """
    if isinstance(value, Mapping):
        if of_people:
            return {name: update_names(item, of_people=of_people - 1) for name, item in value.items()}
        return {name: _update_field(name, item) for name, item in update_fields(value).items()}
    if isinstance(value, list | tuple):
        return [update_names(item) for item in value]
    return value


def _update_field(name: str, item: Any) -> Any:
    if name in _UNCHANGED:
        return item
    if name in _WHO and isinstance(item, str):
        return STORED.get(item, item)
    return update_names(item, of_people=_NAMED_BY_PEOPLE.get(name, 0))
