"""The stage that releases a policy: a pointer to it, and the reasons."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import Digest, JsonValue, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.evaluation_checks import ask_for, make_evaluation_checks, measures_along_training
from rlaif_dagster.graph.rounds import Stop, name_in_round
from rlaif_dagster.graph.specs import identity, spec
from rlaif_dagster.graph.stage import (
    CheckResult,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.inputs.release import RELEASE_FILE
from rlaif_dagster.names import (
    ALIGNED_POLICY,
    COMPARISONS_TABLE,
    EVALUATION,
    INPUTS_JSON,
    METRICS_JSON,
    RELEASE_JSON,
    RELEASED_POLICY,
)
from rlaif_dagster.rounds.choice import choose_round

_GROUPS: Final = ("by_category", "by_principle", "group_tests")


@spec
class ReleasedPolicySpec:
    """What a policy must have passed.

    Attributes:
        require: Required checks of the evaluation.
        required: The thresholds of those whose thresholds are settings.
        rounds: The number of rounds, if several.
        confidence: The confidence of the intervals by which one of several rounds is chosen.
    """

    require: tuple[str, ...] = identity()
    required: Mapping[str, JsonValue] = identity()
    rounds: int | None = identity(optional=True)
    confidence: float | None = identity(optional=True)


@spec
class HeldReleaseSpec:
    """The release that is held."""

    hold: Digest = identity()


def build_released_policy(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the released policy.

    Without a hold it points to the policy that the evaluation measured, if that passed the required checks. With
    several rounds it points to the policy of the best round; a later round must pass the checks too. With a hold it is
    the held release, byte for byte, whatever the evaluation says.

    Raises:
        InputError: If a required check does not exist, or is not measured.
    """
    hold = inputs.hold.settings
    num_rounds = inputs.pipeline.rounds
    required = _find_required(inputs)
    spec: ReleasedPolicySpec | HeldReleaseSpec
    if hold is None:
        spec = ReleasedPolicySpec(
            require=tuple(required),
            required={name: asked for name, asked in required.items() if asked is not None},
            rounds=num_rounds if num_rounds > 1 else None,
            confidence=inputs.pipeline.evaluation.confidence if num_rounds > 1 else None,
        )
    else:
        spec = HeldReleaseSpec(hold=Digest.parse(hold.release))
    return Stage(
        identity=Identity(
            name=RELEASED_POLICY,
            code_version="3" if num_rounds > 1 else "1",
            inputs=tuple(name_in_round(EVALUATION, number) for number in range(1, num_rounds + 1)),
            spec=spec,
        ),
        computing=Computing(compute=compute_released_policy if hold is None else compute_held_release),
        governance=Governance(
            requires={EVALUATION: required} if hold is None else {},
            reason=None if hold is None else hold.reason,
            confirm=inputs.hold.require_unchanged,
        ),
        planning=Planning(
            description="Which policy is released, and why: the newest that passed its checks (of several rounds the "
            "best), or the one that is held.",
            kinds=("json",),
            origins={
                "": f"{PIPELINE_FILE}: release",
                "required": f"{PIPELINE_FILE}: evaluation",  # such a check has the name of its setting
                "rounds": f"{PIPELINE_FILE}: rounds",
                "confidence": f"{PIPELINE_FILE}: evaluation.confidence",
                "hold": f"{RELEASE_FILE}: hold.release",
            },
        ),
    )


def _find_required(inputs: ProjectInputs) -> dict[str, JsonValue]:
    """Finds the thresholds of the required checks, by name, sorted."""
    require = sorted(set(inputs.pipeline.release.require))
    checks = {check.name: check for check in make_evaluation_checks(ask_for(inputs.pipeline.evaluation))}
    for name in require:
        if name not in checks:
            raise InputError(
                f"the evaluation has no check {name!r}",
                file=Path(PIPELINE_FILE),
                field="release.require",
                remedy=f"name any of {', '.join(checks)}, or none",
            )
    if "not_over_optimised" in require and not measures_along_training(inputs.pipeline.evaluation):
        raise InputError(
            "the required check 'not_over_optimised' is not measured: there is neither a ground truth nor a judge that "
            "is asked about the checkpoints of training",
            file=Path(PIPELINE_FILE),
            field="release.require",
            remedy="set evaluation.judge_checkpoints to true, or remove the check",
        )
    return {name: checks[name].required for name in require}


def compute_released_policy(context: StageContext, spec: ReleasedPolicySpec) -> StageResult:
    """Writes which policy is released, and why."""
    best, facts = 1, dict[str, Any]()
    if spec.confidence is not None:
        best, facts = _choose(context.inputs, spec.confidence, partial(_ask_required, spec))
    asset = name_in_round(EVALUATION, best)
    evaluation = context.inputs[asset]
    measured = json.loads((evaluation / INPUTS_JSON).read_bytes())
    metrics = json.loads((evaluation / METRICS_JSON).read_bytes())
    release = {
        "policy": measured.pop(ALIGNED_POLICY),
        "evaluation": str(context.digests[asset]),
        "made_from": measured,
        "checks": {
            name: {"passed": result.passed, "facts": result.facts}
            for name, result in _ask_required(spec, evaluation).items()
        },
        "figures": {name: value for name, value in metrics.items() if name not in _GROUPS},
        **facts,
    }
    (context.output / RELEASE_JSON).write_bytes(canonical_json(release))
    return StageResult(metrics=release)


def compute_held_release(context: StageContext, spec: HeldReleaseSpec) -> StageResult:
    """Copies the release that is held."""
    version = context.services.recorded_version(spec.hold)
    shutil.copytree(version, context.output, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return StageResult(metrics=read_release(context.output))


def _ask_required(spec: ReleasedPolicySpec, evaluation: Path) -> dict[str, CheckResult]:
    checks = {check.name: check for check in make_evaluation_checks(spec.required)}
    return {name: checks[name].ask(evaluation, {}) for name in spec.require}


def _choose(
    evaluations: Mapping[str, Path], confidence: float, ask: Callable[[Path], Mapping[str, CheckResult]]
) -> tuple[int, dict[str, Any]]:
    """Chooses among the first round and the later rounds that were finished and passed.

    Returns:
        The round, and the part of the release about it: `asset`, `round`, `reason`, and for each round its win rate or
        why it was left out.
    """
    from rlaif_dagster.evaluation.evaluate import read_comparisons

    candidates: dict[int, Path] = {}
    left_out: dict[int, str] = {}
    for number, folder in enumerate(evaluations.values(), start=1):
        stop = Stop.read(folder)
        if stop is not None:
            left_out[number] = f"stopped, {stop.words}"
        elif number > 1 and (failed := [name for name, result in ask(folder).items() if not result.passed]):
            left_out[number] = f"it failed {', '.join(failed)}, required by release.require"
        else:
            candidates[number] = folder
    choice = choose_round(
        {number: read_comparisons(folder / COMPARISONS_TABLE) for number, folder in candidates.items()},
        confidence=confidence,
    )
    best = 1 if choice is None else choice.round
    win_rates = {} if choice is None else choice.win_rates
    return best, {
        "asset": name_in_round(ALIGNED_POLICY, best),
        "round": best,
        "reason": "no round was judged, so the first is released" if choice is None else choice.reason,
        "rounds": [
            {
                "round": number,
                "win_rate": asdict(win_rates[number]) if number in win_rates else None,
                "left_out": left_out.get(number),
            }
            for number in range(1, len(evaluations) + 1)
        ],
    }


def read_release(folder: Path) -> dict[str, Any]:
    """Reads a version of the `released_policy` asset."""
    release: dict[str, Any] = json.loads((folder / RELEASE_JSON).read_bytes())
    return release
