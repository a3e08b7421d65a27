"""Compares two states: what people changed, and what effect it had."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from rlaif_dagster.errors import StorageError
from rlaif_dagster.evaluation.comparison import Comparison
from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.graph.changes import Change, diff_values
from rlaif_dagster.graph.sources import read_prompts
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.comparing.chains import Chain, link_causes
from rlaif_dagster.lineage.comparing.constitutions import PrincipleDiff, compare_constitutions
from rlaif_dagster.lineage.comparing.feedback import (
    PreferencesDiff,
    VerdictsDiff,
    compare_preferences,
    diff_verdicts,
)
from rlaif_dagster.lineage.comparing.outcomes import OutcomesDiff, compare_outcomes
from rlaif_dagster.lineage.comparing.rewards import RewardDiff, collect_scores, compare_reward_models
from rlaif_dagster.lineage.comparing.states import OpenVersion, State, Versions, opening
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.names import (
    AI_PREFERENCES,
    COMPARISONS_TABLE,
    CONSTITUTION,
    EVALUATION,
    JUDGE,
    JUDGEMENTS,
    PROMPTS,
    RESPONSES_TABLE,
    REWARD_MODEL,
    SAMPLED_RESPONSES,
)
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import stream_table

_OWN_SECTION: Final = (CONSTITUTION, JUDGE, PROMPTS)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDiff:
    """An asset's version on each side; None if a side has none."""

    asset: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsDiff:
    """Texts of prompts that only one side has, and of prompts that changed split or category."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDiff:
    """What differs from side A to side B. A part is None if it could not be compared: see `absent`.

    Attributes:
        before: What side A is.
        after: What side B is.
        assets: Every asset of either side.
        constitution: Principles that differ.
        judge: Fields of the judge that differ.
        prompts: Prompts that differ.
        settings: Every other setting, code version or library that differs, by asset.
        verdicts: Which verdicts are new.
        preferences: Which preferences flipped.
        rewards: How similarly both reward models rank.
        outcomes: How the win rates shifted.
        chains: Each cause with its effects.
        absent: What could not be compared, and why.
    """

    before: str
    after: str
    assets: tuple[AssetDiff, ...]
    constitution: tuple[PrincipleDiff, ...] | None
    judge: tuple[Change, ...] | None
    prompts: PromptsDiff | None
    settings: tuple[Change, ...]
    verdicts: VerdictsDiff | None
    preferences: PreferencesDiff | None
    rewards: RewardDiff | None
    outcomes: OutcomesDiff | None
    chains: tuple[Chain, ...]
    absent: tuple[str, ...]


def compare_states(project: Project, before: State, after: State) -> ProjectDiff:
    """Compares two states. Every version is verified before it is read; nothing is changed.

    Args:
        project: The project.
        before: Side A.
        after: Side B.

    Raises:
        StorageError: If the project cannot be read.
    """
    absent = list(_list_absent(before, after))

    def note_lost(record: MaterialisationRecord, why: str) -> None:
        absent.append(f"{name_version(record)}: its bytes are not available ({why})")

    old, new = before.by_role, after.by_role
    both = {role: (old[role], new[role]) for role in old if role in new}
    with opening(project, note_lost) as open_version:
        sides = _Sides(both, open_version, absent.append)
        constitution = _compare_constitutions(both)
        judge = _diff_settings(both, JUDGE)
        prompts = sides.compare(PROMPTS, _compare_prompts)
        settings = tuple(_diff_others(both))
        verdicts = sides.compare(JUDGEMENTS, diff_verdicts)
        preferences = sides.compare(AI_PREFERENCES, compare_preferences)
        outcomes = sides.compare(
            EVALUATION, lambda a, b: compare_outcomes(_read_comparisons(a), _read_comparisons(b))
        )
        rewards = _compare_rewards(sides)
    return ProjectDiff(
        before=f"{before.name} ({before.what})",
        after=f"{after.name} ({after.what})",
        assets=tuple(_list_assets(before.versions, after.versions)),
        constitution=constitution,
        judge=judge,
        prompts=prompts,
        settings=settings,
        verdicts=verdicts,
        preferences=preferences,
        rewards=rewards,
        outcomes=outcomes,
        chains=link_causes(
            both,
            constitution=constitution or (),
            judge=judge or (),
            num_prompts=(len(prompts.added), len(prompts.removed), len(prompts.moved)) if prompts else None,
            settings=settings,
            verdicts=verdicts,
            preferences=preferences,
            rewards=rewards,
            outcomes=outcomes,
        ),
        absent=tuple(dict.fromkeys(absent)),
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """The assets that both sides have, access to their files, and the list of what cannot be compared."""

    both: Mapping[str, tuple[MaterialisationRecord, MaterialisationRecord]]
    open_version: OpenVersion
    note: Callable[[str], object]

    def open(self, asset: str) -> tuple[Path | None, Path | None]:
        before, after = self.both.get(asset, (None, None))
        return (
            self.open_version(before) if before else None,
            self.open_version(after) if after else None,
        )

    def compare(self, asset: str, compare: Callable[[Path, Path], _Found]) -> _Found | None:
        before, after = self.open(asset)
        if before is None or after is None:
            return None
        try:
            return compare(before, after)
        except (StorageError, KeyError) as error:  # written by another version of the code, in another form
            self.note(
                f"{asset}: the two versions do not have the same form ({str(error).partition('; ')[0]})"
            )
            return None


def _list_absent(before: State, after: State) -> Iterator[str]:
    for side, other in ((before, after), (after, before)):
        for role in sorted(other.by_role.keys() - side.by_role.keys()):
            yield f"{role}: {side.name} has no version of it"


def _list_assets(old: Versions, new: Versions) -> Iterator[AssetDiff]:
    for asset in dict.fromkeys((*old, *new)):
        before, after = old.get(asset), new.get(asset)
        yield AssetDiff(
            asset=asset,
            before=before.output.digest if before else None,
            after=after.output.digest if after else None,
        )


def _compare_constitutions(
    both: Mapping[str, tuple[MaterialisationRecord, MaterialisationRecord]],
) -> tuple[PrincipleDiff, ...] | None:
    """Compares the constitutions in the recipes, which the ledger proves: no bytes are needed."""
    if CONSTITUTION not in both:
        return None
    before, after = (Constitution.from_json(record.recipe_parts.settings) for record in both[CONSTITUTION])
    return compare_constitutions(before, after)


def _compare_prompts(before: Path, after: Path) -> PromptsDiff:
    old, new = ({prompt.prompt_id: prompt for prompt in read_prompts(folder)} for folder in (before, after))

    def name(prompts: Mapping[str, Prompt], others: Mapping[str, Prompt]) -> tuple[str, ...]:
        return tuple(prompt.prompt for key, prompt in prompts.items() if key not in others)

    return PromptsDiff(
        added=name(new, old),
        removed=name(old, new),
        moved=tuple(prompt.prompt for key, prompt in new.items() if key in old and prompt != old[key]),
    )


def _diff_settings(
    both: Mapping[str, tuple[MaterialisationRecord, MaterialisationRecord]], asset: str
) -> tuple[Change, ...] | None:
    if asset not in both:
        return None
    before, after = (record.recipe_parts for record in both[asset])
    return tuple(diff_values(before.settings, after.settings, f"{asset}:"))


def _diff_others(
    both: Mapping[str, tuple[MaterialisationRecord, MaterialisationRecord]],
) -> Iterator[Change]:
    for asset, (before, after) in both.items():
        if asset not in _OWN_SECTION:
            yield from _diff_settings(both, asset) or ()
        old, new = before.recipe_parts, after.recipe_parts
        yield from diff_values(old.code_version, new.code_version, f"{asset}: code version")
        yield from diff_values(old.engine, new.engine, f"{asset}: library")


def _compare_rewards(sides: _Sides) -> RewardDiff | None:
    if REWARD_MODEL not in sides.both:
        return None
    stored = sides.compare(
        EVALUATION, lambda a, b: (collect_scores(_read_comparisons(a)), collect_scores(_read_comparisons(b)))
    )
    return compare_reward_models(
        stored or ({}, {}), sides.open(REWARD_MODEL), lambda: _find_common_answers(sides)
    )


def _find_common_answers(sides: _Sides) -> set[AnsweredPrompt]:
    """Finds the answers that both sides sampled, with their prompts."""
    responses, prompts = sides.open(SAMPLED_RESPONSES), sides.open(PROMPTS)
    found: list[set[AnsweredPrompt]] = []
    for table, folder in zip(responses, prompts, strict=True):
        if table is None or folder is None:
            return set()
        texts = {prompt.prompt_id: prompt.prompt for prompt in read_prompts(folder)}
        rows = stream_table(table / RESPONSES_TABLE, ["prompt_id", "text", "finish_reason"])
        found.append(
            {
                AnsweredPrompt.from_response(texts[row["prompt_id"]], row)
                for row in rows
                if row["prompt_id"] in texts
            }
        )
    return found[0] & found[1]


def _read_comparisons(folder: Path) -> list[Comparison]:
    from rlaif_dagster.evaluation.evaluate import read_comparisons

    return read_comparisons(folder / COMPARISONS_TABLE)
