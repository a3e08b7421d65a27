"""The stage that asks the judge a fixed set of its questions again, to detect a changed judge.

A judge's name and settings do not say what a server runs behind them. The set is fixed by content: the answered
questions with the smallest verdict ids. They are asked as if for the first time, and the new verdicts are compared with
those in `judgements`. `rlaif run` asks once; `rlaif canary`, or the schedule, asks again. The whole set is judged, so
the share of changed verdicts is a count, not an estimate, and is compared with the threshold directly. Its interval
says what it means for all other verdicts.
"""

import functools
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.errors import StageError
from rlaif_dagster.graph.judging import (
    Asking,
    ask_judges,
    has_local_judge,
    read_bare_verdicts,
    write_judgements,
)
from rlaif_dagster.graph.responses import MODEL_ENGINE, view_responses
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_constitution, read_prompts
from rlaif_dagster.graph.specs import identity, spec, speed
from rlaif_dagster.graph.stage import (
    Check,
    CheckResult,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, ProjectInputs
from rlaif_dagster.judging.opening import read_judges
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import Question, plan_questions
from rlaif_dagster.judging.settings import CanarySettings
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.names import (
    CANARY_JSON,
    CONSTITUTION,
    JUDGE,
    JUDGE_CANARY,
    JUDGEMENTS,
    PROMPTS,
    SAMPLED_RESPONSES,
)
from rlaif_dagster.numerics import NumericsSettings

SAME_JUDGE: Final = "same_judge"


@spec
class JudgeCanarySpec:
    """How many questions are asked again, and how many verdicts may have changed.

    `numerics` is None if no judge runs here.
    """

    canary: CanarySettings = identity()
    numerics: NumericsSettings | None = identity(said_by="numerics")
    asking: Asking = speed()


def build_judge_canary(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the canary."""
    canary = inputs.judge.gates.canary
    is_local = has_local_judge(inputs)
    return Stage(
        identity=Identity(
            name=JUDGE_CANARY,
            code_version="1",
            inputs=(PROMPTS, CONSTITUTION, JUDGE, SAMPLED_RESPONSES, JUDGEMENTS),
            spec=JudgeCanarySpec(
                canary=canary,
                numerics=inputs.pipeline.numerics if is_local else None,
                asking=Asking.from_inputs(inputs),
            ),
            engine=(*(MODEL_ENGINE if is_local else TABLE_ENGINE), "scipy", "statsmodels"),
        ),
        computing=Computing(compute=compute_judge_canary),
        governance=Governance(
            checks=(
                Check(
                    name=SAME_JUDGE,
                    description="At most `gates.canary.max_changed` in judge.yaml of the canary's verdicts differ "
                    "from those in judgements.",
                    blocking=True,
                    run=functools.partial(_check_same, canary.max_changed),
                    required="nothing" if canary.max_changed is None else canary.max_changed,
                ),
            ),
        ),
        planning=Planning(
            description="Asks the judge a fixed set of questions again, to check that it still answers as before.",
            kinds=("json", "parquet"),
            origins={"": f"{JUDGE_FILE}: gates", "canary": f"{JUDGE_FILE}: gates.canary"},
        ),
    )


def choose_canaries(verdicts: Iterable[Verdict], num_questions: int) -> dict[str, Verdict]:
    """Chooses, for each judge, the answered questions with the smallest ids.

    Args:
        verdicts: The verdicts of one or several judges.
        num_questions: How many questions per judge.

    Returns:
        Verdicts by id.
    """
    chosen: dict[str, list[tuple[str, int, Verdict]]] = {}
    for number, verdict in enumerate(verdicts):
        if verdict.verdict is not None:
            known = chosen.setdefault(verdict.judge, [])
            known.append((verdict.verdict_id, number, verdict))
            if len(known) >= 2 * num_questions:
                known[:] = heapq.nsmallest(num_questions, known)
    return {
        verdict_id: verdict
        for judge in sorted(chosen)
        for verdict_id, _, verdict in heapq.nsmallest(num_questions, chosen[judge])
    }


def compare_verdicts(before: Mapping[str, Verdict], now: Iterable[Verdict]) -> dict[str, Any]:
    """Compares verdicts on the same questions, by judge.

    Args:
        before: Verdicts by id.
        now: New verdicts on the same questions.

    Returns:
        By judge: `changed`, the share of new verdicts that differ (a figure); `mean_shift`, the mean distance of
        P(first is better) in [0, 1], null without a new verdict; and `num_without_verdict`, questions that have no
        verdict now.
    """
    from rlaif_dagster.judge_quality.figures import estimate_share

    by_judge: dict[str, list[tuple[Verdict, Verdict]]] = {verdict.judge: [] for verdict in before.values()}
    num_without: Counter[str] = Counter()
    for verdict in now:
        if verdict.verdict is None:
            num_without[verdict.judge] += 1
        else:
            by_judge[verdict.judge].append((before[verdict.verdict_id], verdict))
    return {
        judge: {
            "changed": estimate_share(
                [float(old.verdict != new.verdict) for old, new in both], [old.prompt_id for old, _ in both]
            ).to_json(),
            "mean_shift": fmean(
                abs((old.probability_first or 0.0) - (new.probability_first or 0.0)) for old, new in both
            )
            if both
            else None,
            "num_without_verdict": num_without[judge],
        }
        for judge, both in sorted(by_judge.items())
    }


def compute_judge_canary(context: StageContext, spec: JudgeCanarySpec) -> StageResult:
    """Asks the questions again."""
    judges = read_judges(context.inputs[JUDGE])
    chosen = choose_canaries(
        read_bare_verdicts(context.inputs[JUDGEMENTS]) if judges else (),
        spec.canary.num_questions,
    )
    texts = {row["response_id"]: row["text"] for row in view_responses(context, "response_id", "text")}
    prompts = {p.prompt_id: p.prompt for p in read_prompts(context.inputs[PROMPTS])}
    constitution = read_constitution(context.inputs[CONSTITUTION])
    pairs = sorted({verdict.pair for verdict in chosen.values()})
    known = all(
        pair.prompt_id in prompts and pair.response_a in texts and pair.response_b in texts for pair in pairs
    )

    def plan(profiles: Sequence[JudgeProfile]) -> Iterator[Question]:
        questions = plan_questions(pairs, constitution, profiles, prompts=prompts, texts=texts)
        return (question for question in questions if question.verdict_id in chosen)

    profiles = [judge.profile for judge in judges.values()]
    if not known or sum(1 for _ in plan(profiles)) < len(chosen):
        raise StageError(
            f"{JUDGE_CANARY}: prompts, responses, principles or judges have changed since judgements was made, so its "
            "questions cannot be asked again.\n  remedy: run `rlaif run judgements` first"
        )
    # Not the asset's journal: an answer of an earlier try, perhaps weeks old, does not come from today's judge.
    today = replace(context, journal=context.scratch / "journal")
    with ask_judges(plan, judges, today, spec.asking, spec.numerics) as asked:
        verdicts = list(asked.verdicts)
    compared = compare_verdicts(chosen, verdicts)
    # The replies' texts are left out: a judge that gives the same verdicts in other words gives the same version.
    write_judgements(context.output, [replace(verdict, answers=()) for verdict in verdicts])
    (context.output / CANARY_JSON).write_bytes(
        canonical_json({JUDGEMENTS: str(context.digests[JUDGEMENTS]), "judges": compared})
    )
    return StageResult(
        rows=len(verdicts),
        counts=asked.counts,
        metrics={**asked.costs, "changed": {judge: found["changed"] for judge, found in compared.items()}},
        num_open=0 if asked.is_final else sum(verdict.is_missing for verdict in verdicts),
    )


def _check_same(threshold: float | None, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    found = json.loads((output / CANARY_JSON).read_bytes())
    facts = dict(found["judges"])
    if threshold is None:
        return CheckResult(passed=True, facts=facts)
    shares = [judge["changed"]["value"] for judge in found["judges"].values()]
    if not shares:
        # A file of verdicts cannot drift.
        return CheckResult(
            passed=True, facts={**facts, "not_measured": "there is no verdict that can be asked again"}
        )
    if None in shares:
        # A judge that no longer answers cannot be shown to be the same.
        facts["not_measured"] = "the judge gave no verdict this time"
        facts["remedy"] = "make sure that the judge answers, then run `rlaif canary`"
        return CheckResult(passed=False, facts=facts)
    passed = all(share <= threshold for share in shares)
    if not passed:
        facts["judged_by_another"] = found[JUDGEMENTS]
        facts["remedy"] = (
            "give the judge a new `revision`, so that everything is judged again; or raise gates.canary.max_changed"
        )
    return CheckResult(passed=passed, facts=facts)
