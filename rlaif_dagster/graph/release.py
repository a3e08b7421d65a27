"""The stage that releases a policy: a pointer to it, and the record of why."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.evaluation import INPUTS_JSON, make_evaluation_checks, measures_along_training
from rlaif_dagster.graph.rounds import Stop, name_in_round
from rlaif_dagster.graph.stage import CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.inputs.release import RELEASE_FILE
from rlaif_dagster.rounds.choice import choose_round

RELEASED_POLICY: Final = "released_policy"
RELEASE_JSON: Final = "release.json"
EVALUATION: Final = "evaluation"
POLICY: Final = "aligned_policy"
_GROUPS: Final = ("by_category", "by_principle", "group_tests")


def build_released_policy(inputs: ProjectInputs) -> Stage:
    """The stage of the released policy.

    Without a hold it points to the policy that the evaluation measured, once the required checks have passed: of
    several rounds to the best one's, where a later round has to pass them as well. With a hold it is the release that
    is held, byte for byte, whatever the evaluation says.

    Raises:
        InputError: If a check is required that the evaluation does not have, or that nothing measures.
    """
    hold = inputs.hold.settings
    num_rounds = inputs.pipeline.rounds
    confidence = inputs.pipeline.evaluation.confidence
    require = sorted(set(inputs.pipeline.release.require))
    checks = {check.name: check for check in make_evaluation_checks(inputs.pipeline.evaluation)}
    for name in require:
        if name not in checks:
            raise InputError(
                f"the evaluation has no check {name!r}",
                file=Path(PIPELINE_FILE),
                field="release.require",
                remedy=f"name some of {', '.join(checks)}, or none",
            )
    if "not_over_optimised" in require and not measures_along_training(inputs.pipeline.evaluation):
        raise InputError(
            "nothing measures what the required check 'not_over_optimised' looks at: there is neither gold nor a judge "
            "that is asked about the checkpoints of training",
            file=Path(PIPELINE_FILE),
            field="release.require",
            remedy="set evaluation.judge_checkpoints to true, or take the check out",
        )

    required = {name: checks[name].required for name in require}

    def ask(evaluation: Path) -> dict[str, CheckResult]:
        return {name: checks[name].ask(evaluation, {}) for name in require}

    def promote(context: StageContext) -> StageResult:
        best, facts = 1, dict[str, Any]()
        if num_rounds > 1:
            best, facts = _choose(context.inputs, confidence, ask)
        asset = name_in_round(EVALUATION, best)
        evaluation = context.inputs[asset]
        measured = json.loads((evaluation / INPUTS_JSON).read_bytes())
        metrics = json.loads((evaluation / "metrics.json").read_bytes())
        release = {
            "policy": measured.pop(POLICY),
            "evaluation": str(context.digests[asset]),
            "made_from": measured,
            "checks": {
                name: {"passed": result.passed, "facts": result.facts}
                for name, result in ask(evaluation).items()
            },
            "figures": {name: value for name, value in metrics.items() if name not in _GROUPS},
            **facts,
        }
        (context.output / RELEASE_JSON).write_bytes(canonical_json(release))
        return StageResult(metrics=release)

    def keep(context: StageContext, held: str) -> StageResult:
        version = context.recorded_version(Digest.parse(held))
        shutil.copytree(version, context.output, dirs_exist_ok=True, copy_function=shutil.copyfile)
        return StageResult(metrics=read_release(context.output))

    return Stage(
        name=RELEASED_POLICY,
        description="Which policy is released, and why: the newest that passed its checks (of several rounds the "
        "best), or the one that is held.",
        kinds=("json",),
        code_version="2" if num_rounds > 1 else "1",
        inputs=tuple(name_in_round(EVALUATION, number) for number in range(1, num_rounds + 1)),
        settings={
            "require": require,
            "required": {name: asked for name, asked in required.items() if asked is not None},
            **({"rounds": num_rounds, "confidence": confidence} if num_rounds > 1 else {}),
        }
        if hold is None
        else {"hold": hold.release},
        engine=(),
        origins={
            "": f"{PIPELINE_FILE}: release",
            "required": f"{PIPELINE_FILE}: evaluation",  # such a check has the name of its setting
            "rounds": f"{PIPELINE_FILE}: rounds",
            "confidence": f"{PIPELINE_FILE}: evaluation.confidence",
            "hold": f"{RELEASE_FILE}: hold.release",
        },
        compute=promote if hold is None else lambda context: keep(context, hold.release),
        requires={EVALUATION: required} if hold is None else {},
        reason=None if hold is None else hold.reason,
        confirm=inputs.hold.require_unchanged,
    )


def _choose(
    evaluations: Mapping[str, Path], confidence: float, ask: Callable[[Path], Mapping[str, CheckResult]]
) -> tuple[int, dict[str, Any]]:
    """Chooses among the first round and those later ones that came to their end and pass.

    Returns:
        The round, and what the release says of it: `asset`, `round`, `reason`, and of each round its win rate or why
        it could not be chosen.
    """
    from rlaif_dagster.evaluation.evaluate import COMPARISONS_FILE, read_comparisons

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
        {number: read_comparisons(folder / COMPARISONS_FILE) for number, folder in candidates.items()},
        confidence=confidence,
    )
    best = 1 if choice is None else choice.round
    win_rates = {} if choice is None else choice.win_rates
    return best, {
        "asset": name_in_round(POLICY, best),
        "round": best,
        "reason": "no round was judged, so the first stands" if choice is None else choice.reason,
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
