"""How earlier releases wrote the recipes of today's stages, where what they made still stands.

A recipe changes when a stage's `code_version` is raised or a setting is renamed. Where today's code would make the same
labels or weights of the same inputs, `FORMER_RECIPES` says so, and the version is reused as it stands, with the cards
and figures that were written then. Every entry is a claim that a reviewer has to check; `holds` refuses the versions
for which it is not true. Recipes that differ in anything else are never taken for each other. See
docs/decisions/0010-upgrades.md.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rlaif_dagster.names import (
    AI_PREFERENCES,
    ALIGNED_POLICY,
    BASE_POLICY,
    CHECKPOINTS_TABLE,
    EVALUATION,
    JUDGE_AUDIT,
    PREFERENCES_TABLE,
    RESPONSES_TABLE,
    REWARD_MODEL,
    SUMMARY_JSON,
    SUPERVISED_POLICY,
)
from rlaif_dagster.stats.intervals import exceeds
from rlaif_dagster.tables import stream_table

Keeps = Literal["version", "rows"]
"""`version`: all of it stands; `rows`: the stage is computed again, and may reuse its rows."""

Holds = Callable[[Path, Mapping[str, Path], Any], bool]
"""Says by (output folder, input folders by asset, settings as they were written) whether a version stands."""


def always(output: Path, inputs: Mapping[str, Path], settings: Any) -> bool:
    """Says that every version of the recipe stands."""
    del output, inputs, settings
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerRecipe:
    """One step back: how an earlier release wrote a stage's recipe.

    Attributes:
        release: The last release that wrote it so.
        before: The `code_version` then.
        now: The `code_version` that this step leads back from.
        keeps: What still stands.
        renamed: For each setting that has another name now, by its path then, its path now. All of them are there.
        holds: Refuses versions for which it is not true that today's code would make the same.
    """

    release: str
    before: str
    now: str
    keeps: Keeps
    renamed: Mapping[str, str] = field(default_factory=dict)
    holds: Holds = always

    def write(self, code_version: str, settings: Any) -> tuple[str, Any] | None:
        """A recipe's code version and settings as they were written then; None where this step does not apply."""
        if code_version != self.now:
            return None
        former = _move(settings, [(now, then) for then, now in self.renamed.items()])
        return None if former is None else (self.before, former)

    def read(self, settings: Any) -> Any | None:
        """`read(settings) == later` where `write(now, later) == (before, settings)`; None where there are no such."""
        return _move(settings, list(self.renamed.items()))


def _move(settings: Any, paths: Sequence[tuple[str, str]]) -> Any | None:
    """Settings with values at other paths; None where one is not there, or its new place is taken or nowhere."""
    moved = copy.deepcopy(settings)
    for old, new in paths:
        (source, name), (target, other) = _find(moved, old), _find(moved, new)
        if source is None or name not in source or target is None or other in target:
            return None
        target[other] = source.pop(name)
    return moved


def _find(settings: Any, path: str) -> tuple[dict[str, Any] | None, str]:
    """The object that holds, or may hold, a setting, and its name there."""
    *above, name = path.split(".")
    for step in above:
        settings = settings.get(step) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else None, name


def _labels_stand(output: Path, inputs: Mapping[str, Path], settings: Any) -> bool:
    """No answer was cut, and rounding decided of no pair whether it is a near tie.

    Today's labels say which answers were cut. A table without these columns says that none is known to be.
    """
    for folder in inputs.values():
        if (folder / RESPONSES_TABLE).is_file():
            rows = stream_table(folder / RESPONSES_TABLE, ["finish_reason"])
            if any(row["finish_reason"] == "length" for row in rows):
                return False
    margin = settings["preferences"]["near_tie_margin"]
    distances = (abs(row["p_a"] - 0.5) for row in stream_table(output / PREFERENCES_TABLE, ["p_a"]))
    num_dropped = json.loads((output / SUMMARY_JSON).read_bytes())["num_dropped_near_tie"]
    return num_dropped == 0 and all(
        (distance < margin) == exceeds(margin, distance) for distance in distances
    )


def _policy_stands(output: Path, inputs: Mapping[str, Path], settings: Any) -> bool:
    """It was trained on labels alone, and the choice of its checkpoint did not depend on an answer that was cut.

    An answer that is the same at all checkpoints favours none, whatever its reward. Methods other than DPO train on
    answers that they sample, and do not keep them.
    """
    del inputs
    policy = settings["policy"]
    if policy["method"] != "dpo":
        return False
    said: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for row in stream_table(output / CHECKPOINTS_TABLE, ["step", "prompt_id", "index", "text", "num_tokens"]):
        if row["step"] > 0:  # the policy that training starts from is no candidate
            answers = said.setdefault((row["prompt_id"], row["index"]), set())
            answers.add((row["text"], row["num_tokens"]))
    return all(
        len(answers) == 1 or all(num_tokens < policy["max_new_tokens"] for _, num_tokens in answers)
        for answers in said.values()
    )


def _audit_stands(output: Path, inputs: Mapping[str, Path], settings: Any) -> bool:
    """Says whether the judge's audit measured no policy, so has no likelihood of an answer that was cut."""
    del output, settings
    return not any(
        name == BASE_POLICY or name.endswith((SUPERVISED_POLICY, ALIGNED_POLICY)) for name in inputs
    )


FORMER_RECIPES: Final[Mapping[str, tuple[FormerRecipe, ...]]] = {
    # Tables of 0.1.0 do not say which answers were cut; since then nothing is trained to end a turn where one was.
    AI_PREFERENCES: (
        FormerRecipe(release="0.1.0", before="4", now="7", keeps="version", holds=_labels_stand),
    ),
    REWARD_MODEL: (FormerRecipe(release="0.1.0", before="3", now="5", keeps="version"),),
    ALIGNED_POLICY: (
        FormerRecipe(release="0.1.0", before="5", now="7", keeps="version", holds=_policy_stands),
    ),
    SUPERVISED_POLICY: (FormerRecipe(release="0.1.0", before="2", now="3", keeps="version"),),
    EVALUATION: (
        FormerRecipe(
            release="0.1.0",
            before="8",
            now="10",
            keeps="rows",
            renamed={"evaluation.gold": "evaluation.ground_truth"},
        ),
    ),
    # Figures by the ground truth have other names, which readers know. Likelihoods of cut answers are others.
    JUDGE_AUDIT: (
        FormerRecipe(
            release="0.1.0",
            before="1",
            now="3",
            keeps="version",
            renamed={
                "gold": "ground_truth",
                "gates.min_gold_agreement": "gates.min_ground_truth_agreement",
            },
            holds=_audit_stands,
        ),
    ),
}
"""For each asset, by its name in the first round, the steps back from its recipes.

An entry stays for ever: records of versions that were reused by it are held against it by every later audit.
"""
