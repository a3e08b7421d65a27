"""Rounds: a stage is defined once, for the first round, and placed in later rounds by renaming its inputs.

In its code a stage uses the asset names of the first round, called roles. In round 3 the role `sampled_responses` is
played by the asset `round_3/sampled_responses`, and the policy that is sampled and trained further is
`round_2/aligned_policy`.

A round can stop: if the plateau of the round before says that it does not pay, or if a check fails that would block in
the first round. The stage then writes a file, `stopped.json`, and so does every later stage that reads it: nothing is
sampled, asked or trained, and the run continues with the release.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.graph.price import NOTHING, Price, PriceContext, Range
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.names import (
    AI_PREFERENCES,
    ALIGNED_POLICY,
    EVALUATION,
    JUDGE_AUDIT,
    JUDGEMENTS,
    PLATEAU,
    REWARD_MODEL,
    SAMPLED_RESPONSES,
    STOPPED_JSON,
)

PLATEAU_BEFORE: Final = "plateau_before"
EVALUATION_BEFORE: Final = "evaluation_before"
FIRST_RESPONSES: Final = "first_responses"
REFERENCE_POLICY: Final = "reference_policy"
"""Roles that only later rounds have: the decision and the evaluation of the round before, the first round's responses,
and the reference policy if it is not the policy that the round started from."""

_STAGES: Final = (
    SAMPLED_RESPONSES,
    JUDGEMENTS,
    JUDGE_AUDIT,
    AI_PREFERENCES,
    REWARD_MODEL,
    ALIGNED_POLICY,
    EVALUATION,
    PLATEAU,
)
"""The stages that every round has; all others exist once."""
_GOES_ON_FROM_POLICY: Final = (SAMPLED_RESPONSES, JUDGE_AUDIT, ALIGNED_POLICY)
"""The stages that, in a later round, start from the aligned policy of the round before."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a round stopped.

    Attributes:
        by: The asset that stopped it.
        reasons: The reasons, for people.
    """

    by: str
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """One line for people."""
        return f"{self.by}: {'; '.join(self.reasons)}"

    def write(self, folder: Path) -> None:
        """Writes `stopped.json`."""
        (folder / STOPPED_JSON).write_bytes(canonical_json({"by": self.by, "reasons": list(self.reasons)}))

    @classmethod
    def read(cls, folder: Path) -> "Stop | None":
        """Reads a version's `stopped.json`; None if there is none."""
        file = folder / STOPPED_JSON
        if not file.is_file():
            return None
        found = json.loads(file.read_bytes())
        return cls(by=found["by"], reasons=tuple(found["reasons"]))

    @classmethod
    def find(cls, inputs: Mapping[str, Path]) -> "Stop | None":
        """Finds the stop recorded in one of a stage's inputs, or None."""
        return next((stop for folder in inputs.values() if (stop := cls.read(folder))), None)


def name_in_round(role: str, number: int) -> str:
    """Names the asset that plays a role in a round; in the first round it is the role itself."""
    return role if number == 1 or role not in _STAGES else f"round_{number}/{role}"


def unroll(stages: Sequence[Stage], inputs: ProjectInputs) -> list[Stage]:
    """Places the stages of a round in each of the project's rounds; stages that read all rounds come last.

    Args:
        stages: The stages of the first round, each after everything that it reads, and the stages that exist once.
        inputs: The project's inputs, which set the number of rounds.
    """
    num_rounds = inputs.pipeline.rounds
    if num_rounds == 1:
        return list(stages)
    first = [_tell_kin(stage, num_rounds) for stage in stages]
    last = max(place for place, stage in enumerate(first) if stage.name in _STAGES) + 1
    later = [
        place_in_round(stage, number, inputs)
        for number in range(2, num_rounds + 1)
        for stage in first
        if stage.name in _STAGES
    ]
    return [*first[:last], *later, *first[last:]]


def _tell_kin(stage: Stage, num_rounds: int) -> Stage:
    if stage.name not in _STAGES:
        return stage
    kin = tuple(name_in_round(stage.name, number) for number in range(1, num_rounds + 1))
    return replace(stage, computing=replace(stage.computing, kin=kin))


def place_in_round(stage: Stage, number: int, inputs: ProjectInputs) -> Stage:
    """Places a stage of the first round in a later one.

    Args:
        stage: The stage.
        number: The round, from 2.
        inputs: The project's inputs.
    """
    roles = _cast(stage, number, inputs)
    name = name_in_round(stage.name, number)
    spec, planning, checks = stage.identity.spec, stage.planning, stage.governance.checks
    if REFERENCE_POLICY in roles:  # so that a plan finds what was changed, not only that the input is another
        spec = replace(spec, reference="base")
    place = _Place(role=stage.name, name=name, roles=roles)
    blocking = tuple(check for check in checks if check.blocking)
    return Stage(
        identity=replace(stage.identity, name=name, inputs=tuple(roles.values()), spec=spec),
        computing=replace(
            stage.computing,
            compute=functools.partial(_compute, place, stage.computing.compute, blocking),
            is_idle=_is_stopped,
        ),
        governance=replace(
            stage.governance,
            checks=tuple(
                replace(
                    check,
                    blocking=False,
                    run=functools.partial(_run_check, check, roles),
                    description=f"{check.description} Otherwise the round stops here."
                    if check.blocking
                    else check.description,
                )
                for check in checks
            ),
        ),
        planning=replace(
            planning,
            description=f"Round {number}. {planning.description}",
            origins={**planning.origins, "reference": f"{PIPELINE_FILE}: policy.reference"},
            price=None if planning.price is None else functools.partial(_reckon, planning.price, roles),
        ),
    )


def _cast(stage: Stage, number: int, inputs: ProjectInputs) -> dict[str, str]:
    """Finds the asset that plays each role of a stage in a round."""
    roles = {role: name_in_round(role, number) for role in stage.inputs}
    if stage.name in _GOES_ON_FROM_POLICY and inputs.first_policy in roles:
        roles[inputs.first_policy] = name_in_round(ALIGNED_POLICY, number - 1)
    if stage.name == ALIGNED_POLICY and getattr(inputs.pipeline.policy, "reference", None) == "base":
        roles[REFERENCE_POLICY] = inputs.first_policy
    if stage.name in (SAMPLED_RESPONSES, PLATEAU):
        roles[PLATEAU_BEFORE] = name_in_round(PLATEAU, number - 1)
    if stage.name == PLATEAU:
        roles[EVALUATION_BEFORE] = name_in_round(EVALUATION, number - 1)
    if stage.name in (JUDGE_AUDIT, AI_PREFERENCES) and inputs.human_labels:
        roles[FIRST_RESPONSES] = SAMPLED_RESPONSES  # which people's labels may name
    return roles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A stage's place in a round: its role, its asset, and the asset of each role that it reads."""

    role: str
    name: str
    roles: Mapping[str, str]


def _is_stopped(opened: Mapping[str, Path]) -> bool:
    return Stop.find(opened) is not None


def _compute(
    place: _Place,
    compute: Callable[[StageContext, Any], StageResult],
    blocking: tuple[Check, ...],
    context: StageContext,
    spec: Any,
) -> StageResult:
    stop = Stop.find(context.inputs)
    if stop is not None:
        stop.write(context.output)
        return StageResult(rows=0, metrics={"stopped": stop.words})
    inputs = _by_role(context.inputs, place.roles)
    digests = _by_role(context.digests, place.roles)
    names = {**place.roles, place.role: place.name}
    result = compute(replace(context, inputs=inputs, digests=digests, names=names), spec)
    failed = {
        check.name: outcome.facts
        for check in blocking
        if not (outcome := check.ask(context.output, inputs)).passed
    }
    if not failed:
        return result
    reasons = (
        f"{check} failed, {facts.get('why') or canonical_json(facts).decode()}"
        for check, facts in failed.items()
    )
    stop = Stop(by=place.name, reasons=tuple(reasons))
    stop.write(context.output)
    return replace(result, metrics={**result.metrics, "stopped": stop.words})


def _run_check(
    check: Check, roles: Mapping[str, str], output: Path, inputs: Mapping[str, Path]
) -> CheckResult:
    stop = Stop.find(inputs)
    if stop is not None:
        return CheckResult(passed=True, facts={"not_run": stop.words})
    return check.run(output, _by_role(inputs, roles))


def _reckon(price: Callable[[PriceContext], Price], roles: Mapping[str, str], context: PriceContext) -> Price:
    """Computes the price of a stage in a later round; at least 0, because the round may stop or reuse rows."""
    opened = {name: folder for name, version in context.inputs.items() if (folder := version.open())}
    if Stop.find(opened) is not None:
        return NOTHING
    reckoned = price(replace(context, inputs=_by_role(context.inputs, roles)))
    certain = len(opened) == len(context.inputs)
    return replace(
        reckoned,
        rows_sampled=_from_nothing(reckoned.rows_sampled),
        rows_reused=reckoned.rows_reused if certain else 0,
        judge_calls=_from_nothing(reckoned.judge_calls),
        judge_calls_reused=reckoned.judge_calls_reused if certain else 0,
        tokens=None if reckoned.tokens is None else _from_nothing(reckoned.tokens),
        cost=None if reckoned.cost is None else _from_nothing(reckoned.cost),
        output=reckoned.output if certain else None,
    )


def _from_nothing(amount: Range) -> Range:
    return replace(amount, min=0)


def _by_role(values: Mapping[str, _T], roles: Mapping[str, str]) -> dict[str, _T]:
    return {role: values[asset] for role, asset in roles.items()}
