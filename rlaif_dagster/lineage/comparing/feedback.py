"""Compares verdicts and preferences of two sides: which verdicts are new, which preferences flipped.

Two preferences are of the same pair if they have the same pair id, which is made of prompt and answers. A preference
flips if each side prefers an answer, but not the same one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.names import JUDGEMENTS_TABLE, PREFERENCES_TABLE
from rlaif_dagster.preferences import LABEL_DECIMALS
from rlaif_dagster.tables import stream_table

NUM_FLIP_EXAMPLES: Final = 5
WHOLE: Final = "the whole constitution"
"""Used as the principle if the judge was asked about all principles at once."""

_EVEN: Final = 0.5

Parts = Mapping[str, tuple[float, float]]
"""A label's parts: P(a preferred) and weight, by principle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictsDiff:
    """Verdicts by their keys.

    Attributes:
        num_before: Verdicts of side A.
        num_after: Verdicts of side B.
        num_kept: Verdicts that both sides have.
        asked_anew: Verdicts that only B has, by principle.
    """

    num_before: int
    num_after: int
    num_kept: int
    asked_anew: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleFlips:
    """How one principle relates to flipped preferences.

    Attributes:
        principle_id: The principle.
        num_common: Common pairs judged by it on both sides.
        num_own: Pairs of these for which it now prefers the other answer.
        num_in_flipped: Pairs of these whose preference flipped.
        num_alone: Preferences that flip if only this principle's verdict and weight are taken from side B.
    """

    principle_id: str
    num_common: int
    num_own: int
    num_in_flipped: int
    num_alone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleVerdict:
    """One principle's verdict on a pair: P(a preferred) on each side, None if it was not judged."""

    principle_id: str
    before: float | None
    after: float | None
    flipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlippedPreference:
    """A preference that flipped; `before` and `after` are P(a preferred)."""

    pair_id: str
    prompt: str
    answer_a: str
    answer_b: str
    before: float
    after: float
    principles: tuple[PrincipleVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesDiff:
    """Preferences of common pairs.

    Attributes:
        num_before: Preferences of side A.
        num_after: Preferences of side B.
        num_common: Pairs with a preference on both sides.
        num_moved: Common pairs whose soft label changed.
        num_flipped: Common pairs whose preference flipped.
        num_by_weights: Flipped pairs in which no principle's verdict changed: only weights did.
        mean_shift: Mean of |label after - label before| over the common pairs; None without common pairs.
        principles: By principle, sorted by id.
        examples: The flips that moved the label most.
    """

    num_before: int
    num_after: int
    num_common: int
    num_moved: int
    num_flipped: int
    num_by_weights: int
    mean_shift: float | None
    principles: tuple[PrincipleFlips, ...]
    examples: tuple[FlippedPreference, ...]


@dataclass(frozen=True, slots=True)
class _Label:
    p_a: float
    parts: Parts


def diff_verdicts(before: Path, after: Path) -> VerdictsDiff:
    """Compares two versions of `judgements` by verdict key.

    Args:
        before: Side A's folder.
        after: Side B's folder.
    """
    old, new = (
        {
            row["verdict_id"]: row["principle_id"] or WHOLE
            for row in stream_table(folder / JUDGEMENTS_TABLE, ["verdict_id", "principle_id"])
        }
        for folder in (before, after)
    )
    asked: dict[str, int] = {}
    for key, principle in new.items():
        if key not in old:
            asked[principle] = asked.get(principle, 0) + 1
    return VerdictsDiff(
        num_before=len(old),
        num_after=len(new),
        num_kept=len(new) - sum(asked.values()),
        asked_anew=dict(sorted(asked.items())),
    )


def compare_preferences(
    before: Path, after: Path, *, num_examples: int = NUM_FLIP_EXAMPLES
) -> PreferencesDiff:
    """Compares two versions of `ai_preferences` by pair.

    Args:
        before: Side A's folder.
        after: Side B's folder.
        num_examples: The largest number of examples.
    """
    old, new = _read_labels(before), _read_labels(after)
    common = sorted(old.keys() & new.keys())
    flipped = [pair for pair in common if _is_flipped(old[pair].p_a, new[pair].p_a)]
    flipped.sort(key=lambda pair: (-abs(new[pair].p_a - old[pair].p_a), pair))
    shifts = [abs(new[pair].p_a - old[pair].p_a) for pair in common]
    names = sorted({name for pair in common for name in (*old[pair].parts, *new[pair].parts)})
    return PreferencesDiff(
        num_before=len(old),
        num_after=len(new),
        num_common=len(common),
        num_moved=sum(shift > 0 for shift in shifts),
        num_flipped=len(flipped),
        num_by_weights=sum(
            all(not _has_moved(old[pair].parts, new[pair].parts, name) for name in names) for pair in flipped
        ),
        mean_shift=sum(shifts) / len(shifts) if shifts else None,
        principles=tuple(_count_flips(name, common, flipped, old, new) for name in names),
        examples=tuple(_describe_flips(flipped[:num_examples], old, new, after)),
    )


def _read_labels(folder: Path) -> dict[str, _Label]:
    return {
        row["pair_id"]: _Label(
            row["p_a"],
            {part["principle_id"] or WHOLE: (part["p_a"], part["weight"]) for part in row["principles"]},
        )
        for row in stream_table(folder / PREFERENCES_TABLE, ["pair_id", "p_a", "principles"])
    }


def _is_flipped(before: float, after: float) -> bool:
    return (before - _EVEN) * (after - _EVEN) < 0


def _has_moved(old: Parts, new: Parts, name: str) -> bool:
    """Whether a principle's verdict changed, or exists on one side only."""
    return (old[name][0] if name in old else None) != (new[name][0] if name in new else None)


def _has_flipped(old: Parts, new: Parts, name: str) -> bool:
    return name in old and name in new and _is_flipped(old[name][0], new[name][0])


def _count_flips(
    name: str,
    common: Sequence[str],
    flipped: Iterable[str],
    old: Mapping[str, _Label],
    new: Mapping[str, _Label],
) -> PrincipleFlips:
    def count(pairs: Iterable[str], holds: Callable[[Parts, Parts, str], bool]) -> int:
        return sum(holds(old[pair].parts, new[pair].parts, name) for pair in pairs)

    return PrincipleFlips(
        principle_id=name,
        num_common=count(common, lambda a, b, principle: principle in a and principle in b),
        num_own=count(common, _has_flipped),
        num_in_flipped=count(flipped, _has_flipped),
        num_alone=count(common, _flips_alone),
    )


def _flips_alone(old: Parts, new: Parts, name: str) -> bool:
    """Whether side A's preference flips if only one principle's verdict and weight are taken from side B."""
    if old.get(name) == new.get(name):
        return False
    mixed = {key: part for key, part in old.items() if key != name}
    if name in new:
        mixed[name] = new[name]
    return bool(old and mixed) and _is_flipped(_weigh(old), _weigh(mixed))


def _weigh(parts: Parts) -> float:
    total = sum(weight for _, weight in parts.values())
    return round(sum(p_a * weight for p_a, weight in parts.values()) / total, LABEL_DECIMALS)


def _describe_flips(
    pairs: Sequence[str], old: Mapping[str, _Label], new: Mapping[str, _Label], folder: Path
) -> Iterable[FlippedPreference]:
    texts = _read_texts(folder, pairs)
    for pair in pairs:
        a, b = old[pair].parts, new[pair].parts
        yield FlippedPreference(
            pair_id=pair,
            prompt=texts[pair]["prompt"],
            answer_a=texts[pair]["text_a"],
            answer_b=texts[pair]["text_b"],
            before=old[pair].p_a,
            after=new[pair].p_a,
            principles=tuple(
                PrincipleVerdict(
                    principle_id=name,
                    before=a[name][0] if name in a else None,
                    after=b[name][0] if name in b else None,
                    flipped=_has_flipped(a, b, name),
                )
                for name in sorted(a.keys() | b.keys())
            ),
        )


def _read_texts(folder: Path, pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    wanted = set(pairs)
    columns = ["pair_id", "prompt", "text_a", "text_b"]
    rows = stream_table(folder / PREFERENCES_TABLE, columns) if wanted else ()
    return {row["pair_id"]: row for row in rows if row["pair_id"] in wanted}
