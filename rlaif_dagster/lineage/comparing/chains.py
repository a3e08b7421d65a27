"""Links causes to effects: from an edit, through the assets that it changed, to the win rate.

A cause is a change by people, code or libraries. Its effects are what was measured at the assets made from it. Verdicts
by a principle, and preferences that flip by it alone, are effects of that principle only. Later effects are those of
all causes together, and each chain lists them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rlaif_dagster.graph.changes import Change
from rlaif_dagster.lineage.comparing.constitutions import PrincipleDiff
from rlaif_dagster.lineage.comparing.feedback import PreferencesDiff, VerdictsDiff
from rlaif_dagster.lineage.comparing.outcomes import OutcomesDiff
from rlaif_dagster.lineage.comparing.rewards import RewardDiff
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.names import (
    AI_PREFERENCES,
    CONSTITUTION,
    EVALUATION,
    JUDGE,
    JUDGEMENTS,
    PROMPTS,
    REWARD_MODEL,
)

_MEASURED: Final = (JUDGEMENTS, AI_PREFERENCES, REWARD_MODEL, EVALUATION)
"""The assets at which effects are measured, upstream first."""

Both = Mapping[str, tuple[MaterialisationRecord, MaterialisationRecord]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One cause and its effects.

    Attributes:
        asset: The asset whose own recipe the cause changes.
        cause: What was changed.
        effects: Its effects, in the order of the graph.
    """

    asset: str
    cause: str
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    verdicts: VerdictsDiff | None
    preferences: PreferencesDiff | None
    rewards: RewardDiff | None
    outcomes: OutcomesDiff | None


def link_causes(
    both: Both,
    *,
    constitution: Sequence[PrincipleDiff],
    judge: Sequence[Change],
    num_prompts: tuple[int, int, int] | None,
    settings: Sequence[Change],
    verdicts: VerdictsDiff | None,
    preferences: PreferencesDiff | None,
    rewards: RewardDiff | None,
    outcomes: OutcomesDiff | None,
) -> tuple[Chain, ...]:
    """Makes a chain for each cause.

    Args:
        both: The versions of the assets that both sides have.
        constitution: Principles that differ.
        judge: Fields of the judge that differ.
        num_prompts: Prompts added, removed, and moved to another split or category.
        settings: Everything else that differs, each path beginning with its asset.
        verdicts: Which verdicts are new.
        preferences: What flipped.
        rewards: How similarly both reward models rank.
        outcomes: How the win rates shifted.
    """
    measured = _Measured(verdicts=verdicts, preferences=preferences, rewards=rewards, outcomes=outcomes)
    causes: list[tuple[str, str, str | None]] = [
        (CONSTITUTION, f"principle {one.principle_id} {_word_principle(one)}", one.principle_id)
        for one in constitution
    ]
    if judge:
        causes.append((JUDGE, f"judge: {', '.join(_shorten(change) for change in judge)} changed", None))
    if num_prompts and any(num_prompts):
        words = zip(num_prompts, ("added", "removed", "moved"), strict=True)
        causes.append((PROMPTS, f"prompts: {', '.join(f'{n} {word}' for n, word in words if n)}", None))
    for change in settings:
        causes.append((change.path.partition(":")[0], _word_change(change), None))
    return tuple(
        Chain(asset=asset, cause=cause, effects=tuple(_follow(asset, principle, both, measured)))
        for asset, cause, principle in causes
    )


def _word_principle(diff: PrincipleDiff) -> str:
    if "reweighted" in diff.change:
        return f"{diff.change} {diff.weight_before:g} -> {diff.weight_after:g}"
    return diff.change


def _shorten(change: Change) -> str:
    return change.path.rpartition(" ")[2]


def _word_change(change: Change) -> str:
    return f"{change.path} {_word_value(change.old)} -> {_word_value(change.new)}"


def _word_value(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004 (fits a line)


def _follow(asset: str, principle: str | None, both: Both, measured: _Measured) -> Iterator[str]:
    """Yields the effects at the assets made from the given one, until one of them is the same on both sides."""
    reached = _find_reached(asset, both)
    for name in _MEASURED:
        if name not in reached or name not in both:
            continue
        before, after = (record.output.digest for record in both[name])
        if before != after:
            yield from _describe(name, principle, measured)
        elif name == _MEASURED[0]:
            yield "no new verdict"  # weights apply after the verdicts
        else:
            yield f"{name} is the same, byte for byte"
            return


def _find_reached(asset: str, both: Both) -> set[str]:
    """Finds an asset and everything made from it on either side."""
    reached = {asset}
    grew = True
    while grew:
        found = {
            name
            for name, records in both.items()
            if name not in reached and any(reached & _name_roles(record) for record in records)
        }
        reached |= found
        grew = bool(found)
    return reached


def _name_roles(record: MaterialisationRecord) -> set[str]:
    """Names the assets that a version was made from, without their rounds."""
    return {name.rpartition("/")[2] for name in record.inputs}


def _describe(name: str, principle: str | None, measured: _Measured) -> Iterator[str]:
    if name == JUDGEMENTS and measured.verdicts is not None:
        asked = measured.verdicts.asked_anew
        yield f"{asked.get(principle, 0) if principle else sum(asked.values()):,} new verdicts"
    elif name == AI_PREFERENCES and measured.preferences is not None:
        diff = measured.preferences
        alone = {one.principle_id: one.num_alone for one in diff.principles}
        if principle is None:
            yield f"{diff.num_flipped:,} of {diff.num_common:,} common preferences flipped"
        else:
            yield f"{alone.get(principle, 0):,} of {diff.num_common:,} common preferences flip by it"
    elif name == REWARD_MODEL and measured.rewards is not None and measured.rewards.spearman is not None:
        yield f"reward rank correlation {measured.rewards.spearman:.2f}"
    elif name == EVALUATION and measured.outcomes is not None:
        for rate in measured.outcomes.win_rates[:1]:
            yield f"win rate by the {rate.source.replace('_', ' ')} {rate.shift.value:+.3f}"
