"""The stage that measures the judge. Its gates prevent training on a bad judge's verdicts."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.digest import canonical_json
from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.graph.judge_gates import build_gates
from rlaif_dagster.graph.judging import (
    Asked,
    Asking,
    ask_judges,
    check_judgements,
    find_earlier_answers,
    has_local_judge,
    read_answers,
    read_bare_verdicts,
    write_judgements,
)
from rlaif_dagster.graph.learning import write_plots
from rlaif_dagster.graph.responses import MODEL_ENGINE, read_nameable_responses, view_responses
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_constitution, read_prompts
from rlaif_dagster.graph.specs import forget, identity, spec, speed
from rlaif_dagster.graph.stage import (
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, PIPELINE_FILE, ProjectInputs, RecordedFile
from rlaif_dagster.judge_quality.probe import Probe, plan_probes
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.human import HumanLabels, read_human_labels
from rlaif_dagster.judging.opening import StoredJudge, read_judges
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import Question, plan_questions
from rlaif_dagster.judging.settings import GateSettings, JudgingProtocol, find_protocol
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.names import (
    CONSTITUTION,
    JUDGE,
    JUDGE_AUDIT,
    JUDGE_AUDIT_JSON,
    JUDGEMENTS,
    PROMPTS,
    SAMPLED_RESPONSES,
)
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.preferences import PreferenceSettings
from rlaif_dagster.tables import Row

if TYPE_CHECKING:
    from rlaif_dagster.judge_quality.judged import GroundTruth
    from rlaif_dagster.judge_quality.rows import JudgedRow, Label

JUDGE_AUDIT_ENGINE: Final = ("matplotlib", "numpy", "scipy", "statsmodels")
SHOWN: Final = ("order_agreement", "accuracy", "position_bias", "prefers_longer_ground_truth_fixed", "ece")
"""Figures of the labels that are shown in the record."""
MAX_POLICY_PAIRS: Final = 400
"""The largest number of pairs on which the judge is compared with the policy."""


_OTHER_GATES: Final = ("canary", "min_coverage")
"""Gates that belong to other assets."""


@spec
class JudgeAuditSpec:
    """How the judge is measured.

    Attributes:
        gates: The thresholds of the checks; the output does not depend on them.
        ground_truth: The ground truth, if there is one.
        dtype: The dtype of the policy, if the judge is compared with it.
        human_labels: The labels made by people.
        preferences: How verdicts become labels.
        protocol: How the judge is asked.
        policy: The policy that the judge is compared with, or None.
        numerics: None if no model runs here.
        asking: How the judges are asked.
    """

    gates: GateSettings = identity(without=_OTHER_GATES)
    ground_truth: str | None = identity()
    dtype: str | None = identity()
    human_labels: RecordedFile | None = identity()
    preferences: PreferenceSettings = identity()
    protocol: JudgingProtocol = identity()
    policy: str | None = identity(said_by="inputs")
    numerics: NumericsSettings | None = identity(said_by="numerics")
    asking: Asking = speed()


def build_judge_audit(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the judge's audit."""
    pipeline = inputs.pipeline
    policy = inputs.first_policy if inputs.compares_judge_with_policy else None
    runs_model = policy is not None or has_local_judge(inputs)
    return Stage(
        identity=Identity(
            name=JUDGE_AUDIT,
            code_version="3",
            inputs=(
                PROMPTS,
                CONSTITUTION,
                JUDGE,
                SAMPLED_RESPONSES,
                JUDGEMENTS,
                *(() if policy is None else (policy,)),
            ),
            spec=JudgeAuditSpec(
                gates=forget(inputs.judge.gates, _OTHER_GATES),
                ground_truth=pipeline.evaluation.ground_truth,
                dtype=None if policy is None else pipeline.evaluation.dtype,
                human_labels=inputs.human_labels,
                preferences=pipeline.preferences,
                protocol=find_protocol(inputs.judge),
                policy=policy,
                numerics=pipeline.numerics if runs_model else None,
                asking=Asking.from_inputs(inputs),
            ),
            engine=(*(MODEL_ENGINE if runs_model else TABLE_ENGINE), *JUDGE_AUDIT_ENGINE),
        ),
        computing=Computing(compute=compute_judge_audit),
        governance=Governance(checks=(check_judgements(), *build_gates(inputs.judge.gates))),
        planning=Planning(
            description="How accurate, consistent, biased and calibrated the judge is, and whether answers can "
            "manipulate it. Its gates prevent training on a bad judge's verdicts.",
            kinds=("json", "parquet"),
            origins={
                "": f"{JUDGE_FILE}:",
                "ground_truth": f"{PIPELINE_FILE}: evaluation.ground_truth",
                "dtype": f"{PIPELINE_FILE}: evaluation.dtype",
                "preferences": f"{PIPELINE_FILE}: preferences",
            },
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """The material of an audit.

    Attributes:
        verdicts: The judges' verdicts on the sampled pairs, without their answers.
        responses: Rows with `response_id`, `text`, `finish_reason` and `source` by response id.
        nameable: The same for all responses that people's labels may name.
        prompts: Prompt text by prompt id.
        constitution: The principles.
        judges: The judges that can be asked, by name.
        human: The labels made by people, if any.
        ground_truth: The ground truth.
    """

    verdicts: Sequence[Verdict]
    responses: Mapping[str, Row]
    nameable: Mapping[str, Row]
    prompts: Mapping[str, str]
    constitution: Constitution
    judges: Mapping[str, StoredJudge]
    human: HumanLabels | None
    ground_truth: "GroundTruth"

    @property
    def texts(self) -> dict[str, str]:
        return {name: row["text"] for name, row in self.responses.items()}


def compute_judge_audit(context: StageContext, spec: JudgeAuditSpec) -> StageResult:
    """Measures the judge."""
    from rlaif_dagster.judge_quality.injection import measure_injection
    from rlaif_dagster.judge_quality.plots import draw_judge_audit
    from rlaif_dagster.judge_quality.summary import measure_verdicts

    material = _gather(context, spec)
    probes = list(plan_probes(material.verdicts, material.texts)) if material.judges else []
    with _ask_more(material, probes, context, spec) as asked:
        more = list(asked.verdicts)
    num_rows = write_judgements(context.output, more)
    labels = _label(material.verdicts, material, spec)
    by_human = _label_by_human(material, more, spec) if material.human else []
    reference = (
        "ground_truth" if any(row.pair.ground_truth for row in labels) else "human" if by_human else None
    )
    audit: dict[str, Any] = {
        **_audit_verdicts(material),
        "labels": {**_describe(measure_verdicts(labels)), "calibration": _bin(labels)},
        "human": {**_describe(measure_verdicts(by_human)), "calibration": _bin(by_human)}
        if by_human
        else None,
        "injection": measure_injection(probes, more) if probes else None,
        "policy": None,
        "reference": reference,
    }
    if reference and spec.policy and spec.dtype and spec.numerics:
        audit["policy"] = _compare_with_policy(
            by_human if reference == "human" else labels,
            material,
            context.inputs[spec.policy],
            dtype=spec.dtype,
            numerics=spec.numerics,
        )
    (context.output / JUDGE_AUDIT_JSON).write_bytes(canonical_json(audit))
    write_plots(context.output, draw_judge_audit(audit))
    return StageResult(
        rows=num_rows,
        counts={
            "num_pairs": len({verdict.pair_id for verdict in material.verdicts}),
            "num_human_labels": len(material.human.labels) if material.human else 0,
            "num_probes": len(probes),
            **asked.counts,
        },
        metrics={
            **asked.costs,
            **{
                name: {judge: figures[name] for judge, figures in audit["labels"]["judges"].items()}
                for name in SHOWN
            },
        },
        num_open=0 if asked.is_final else sum(verdict.is_missing for verdict in more),
    )


def _gather(context: StageContext, spec: JudgeAuditSpec) -> _Material:
    from rlaif_dagster.judge_quality.judged import embedded_ground_truth, no_ground_truth

    columns = ("response_id", "text", "finish_reason", "source")
    responses = nameable = {row["response_id"]: row for row in view_responses(context, *columns)}
    prompts = {p.prompt_id: p.prompt for p in read_prompts(context.inputs[PROMPTS])}
    constitution = read_constitution(context.inputs[CONSTITUTION])
    human = None
    if spec.human_labels:
        rows = read_nameable_responses(context)
        nameable = {row["response_id"]: row for row in rows}
        human = read_human_labels(spec.human_labels.path, prompts=prompts, responses=rows)
        spec.human_labels.require_unchanged()
    texts = {name: row["text"] for name, row in responses.items()}
    has_ground_truth = spec.ground_truth is not None
    return _Material(
        verdicts=list(read_bare_verdicts(context.inputs[JUDGEMENTS])),
        responses=responses,
        nameable=nameable,
        prompts=prompts,
        constitution=constitution,
        judges=read_judges(context.inputs[JUDGE]),
        human=human,
        ground_truth=embedded_ground_truth(constitution, prompts, texts)
        if has_ground_truth
        else no_ground_truth,
    )


@contextlib.contextmanager
def _ask_more(
    material: _Material, probes: Sequence[Probe], context: StageContext, spec: JudgeAuditSpec
) -> Iterator[Asked]:
    """Asks the judges about the pairs that people labelled, then about the probes."""
    human = material.human
    attacked = {probe.attacked_id: probe.attacked_text for probe in probes}
    prompts, texts = material.prompts, {**material.texts, **attacked}
    by_id = {principle.id: principle for principle in material.constitution.principles}

    def plan(profiles: Sequence[JudgeProfile]) -> Iterator[Question]:
        if human is not None:
            yield from plan_questions(
                human.labels, material.constitution, profiles, prompts=human.prompts, texts=human.texts
            )
        by_name = {profile.name: profile for profile in profiles}
        for probe in probes:
            if probe.judge not in by_name:
                continue
            rule = material.constitution
            if probe.principle_id is not None:
                rule = Constitution(principles=(by_id[probe.principle_id],))
            once = replace(by_name[probe.judge], repeats=1)
            yield from plan_questions([probe.pair], rule, [once], prompts=prompts, texts=texts)

    def earlier(profile: JudgeProfile) -> Iterator[Iterator[Reply]]:
        if human is not None:
            yield read_answers(context.inputs[JUDGEMENTS])
        yield from find_earlier_answers(context, profile)

    if not material.judges:
        yield Asked(verdicts=iter(()), counts={}, costs={}, is_final=True)
        return
    with ask_judges(plan, material.judges, context, spec.asking, spec.numerics, earlier=earlier) as asked:
        yield asked


def _audit_verdicts(material: _Material) -> dict[str, Any]:
    """Computes the figures of all verdicts, and of each principle if there are several."""
    from rlaif_dagster.judge_quality.judged import list_verdict_rows
    from rlaif_dagster.judge_quality.summary import measure_verdicts

    by_principle: dict[str | None, list[JudgedRow]] = {}
    for principle_id, row in list_verdict_rows(material.verdicts, material.responses, material.ground_truth):
        by_principle.setdefault(principle_id, []).append(row)
    everything = [row for rows in by_principle.values() for row in rows]
    return {
        "verdicts": _describe(measure_verdicts(everything)),
        "principles": {
            principle_id: _describe(measure_verdicts(rows))
            for principle_id, rows in by_principle.items()
            if len(by_principle) > 1 and principle_id is not None
        },
    }


def _describe(result: Any) -> dict[str, Any]:
    """Describes the figures as `rlaif judge-audit --json` does, without the definitions."""
    described: dict[str, Any] = result.to_json()
    del described["definitions"]
    return described


def _label(verdicts: Iterable[Verdict], material: _Material, spec: JudgeAuditSpec) -> "list[JudgedRow]":
    from rlaif_dagster.judge_quality.judged import list_label_rows

    return list(
        list_label_rows(
            verdicts,
            material.responses,
            constitution=material.constitution,
            settings=spec.preferences,
            protocol=spec.protocol,
            ground_truth=material.ground_truth,
        )
    )


def _label_by_human(material: _Material, more: Iterable[Verdict], spec: JudgeAuditSpec) -> "list[JudgedRow]":
    """Computes the judges' labels of the pairs that people labelled; recorded judges give only what they have."""
    human = material.human
    if human is None:
        return []
    labels = {pair.pair_id: label for pair, label in human.labels.items()}

    def ground_truth(pair: Pair, principle_id: str | None) -> "Label | None":
        del principle_id
        label = labels[pair.pair_id]
        return None if label == "tie" else label

    unknown = {"source": None, "finish_reason": None}
    responses = {
        name: {**unknown, **material.responses.get(name, {}), "response_id": name, "text": text}
        for name, text in human.texts.items()
    }
    given = [v for v in (more if material.judges else material.verdicts) if v.pair_id in labels]
    return _label(given, replace(material, responses=responses, ground_truth=ground_truth), spec)


def _bin(rows: "Iterable[JudgedRow]") -> dict[str, list[dict[str, float | None]]]:
    """Bins the confidences of each judge's labels."""
    from rlaif_dagster.judge_quality.calibration import bin_labels, list_soft_labels
    from rlaif_dagster.judge_quality.rows import group_by_judge

    return {judge: bin_labels(list_soft_labels(given)) for judge, given in group_by_judge(rows).items()}


def _compare_with_policy(
    rows: "Sequence[JudgedRow]",
    material: _Material,
    policy: Path,
    *,
    dtype: str,
    numerics: NumericsSettings,
) -> dict[str, Any] | None:
    """Compares the judge's labels with the policy's own likelihoods, on the same pairs."""
    from rlaif_dagster.judge_quality.against_policy import PairLikelihoods, compare_with_policy
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.training.kl import measure_log_likelihoods

    human = material.human
    prompts = {**material.prompts, **(human.prompts if human else {})}
    texts = {**material.texts, **(human.texts if human else {})}
    pairs = {verdict.pair_id: verdict.pair for verdict in material.verdicts}
    pairs |= {pair.pair_id: pair for pair in (human.labels if human else ())}
    judged = sorted({row.pair.pair_id for row in rows if row.pair.ground_truth is not None})[
        :MAX_POLICY_PAIRS
    ]
    log_probs = measure_log_likelihoods(
        policy,
        [
            AnsweredPrompt(
                prompt=prompts[pairs[name].prompt_id],
                text=texts[response],
                # Texts written by people are complete.
                finish_reason=material.nameable.get(response, {}).get("finish_reason"),
            )
            for name in judged
            for response in (pairs[name].response_a, pairs[name].response_b)
        ],
        device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
        dtype=dtype,
    )
    likelihoods = {
        name: PairLikelihoods(
            total=(float(a.double().sum()), float(b.double().sum())),
            mean=(float(a.double().mean()), float(b.double().mean())),
        )
        for name, a, b in zip(judged, log_probs[::2], log_probs[1::2], strict=True)
        if len(a) and len(b)  # an answer that was cut before it had a text has no likelihood
    }
    return compare_with_policy(rows, likelihoods)
