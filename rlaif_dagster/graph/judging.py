"""The stage of the verdicts, and how every stage asks the judge."""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.responses import MODEL_ENGINE, view_responses
from rlaif_dagster.graph.sources import JUDGE_VERDICTS, TABLE_ENGINE, read_constitution, read_prompts
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
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, PIPELINE_FILE, ProjectInputs
from rlaif_dagster.judging.calls import Answer, JudgeProfile
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.judge import Plan, Tally, ask_questions, read_verdicts
from rlaif_dagster.judging.opening import JUDGE_JSON, StoredJudge, read_judges
from rlaif_dagster.judging.pairs import Pair, PairingSettings, form_pairs
from rlaif_dagster.judging.questions import Question, plan_questions
from rlaif_dagster.judging.settings import (
    AskedJudgeSettings,
    LocalJudgeSettings,
    OpenAIJudgeSettings,
    RecordedJudgeSettings,
    name_judge,
)
from rlaif_dagster.judging.verdicts import Verdict, judgements_schema
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.tables import Row, has_columns, stream_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa

JUDGEMENTS_TABLE: Final = "judgements.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a stage asked of the judges.

    Attributes:
        verdicts: One for each question, in their order. Can be read only once, while the journal is open.
        counts: Calls asked and reused, and tokens, by name.
        costs: What the tokens cost, for judges with a price; the name says the currency.
        is_final: If True, asking again would give the same answer without a verdict.
    """

    verdicts: Iterator[Verdict]
    counts: Mapping[str, int]
    costs: Mapping[str, float]
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How fast, where and at what price judges are asked.

    Attributes:
        served_by: The current settings of served judges, by name.
        batch_size: The largest number of calls that a local judge answers at once.
    """

    served_by: Mapping[str, OpenAIJudgeSettings]
    batch_size: int

    @classmethod
    def from_inputs(cls, inputs: ProjectInputs) -> "Asking":
        """Reads how the judges of a project are asked."""
        sources = (*inputs.judges, *((inputs.evaluation_judge,) if inputs.evaluation_judge else ()))
        return cls.of_judges(
            (source.settings for source in sources), batch_size=inputs.pipeline.execution.judging_batch_size
        )

    @classmethod
    def of_judges(cls, judges: Iterable[AskedJudgeSettings], *, batch_size: int) -> "Asking":
        """Collects how the given judges are asked."""
        served = {name_judge(one): one for one in judges if isinstance(one, OpenAIJudgeSettings)}
        return cls(served_by=served, batch_size=batch_size)


@spec
class JudgementsSpec:
    """Which pairs are judged, and which share of the questions needs a verdict.

    `numerics` is None if no judge runs here.
    """

    min_coverage: float = identity()
    pairing: PairingSettings = identity()
    seed: int = identity()
    numerics: NumericsSettings | None = identity(said_by="numerics")
    asking: Asking = speed()


@spec
class RecordedJudgementsSpec:
    """Which share of the questions needs a verdict, and which file the verdicts come from."""

    min_coverage: float = identity()
    file: Path = speed()


def build_judgements(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the verdicts."""
    min_coverage = inputs.judge.gates.min_coverage
    is_local = has_local_judge(inputs)
    spec: JudgementsSpec | RecordedJudgementsSpec
    if inputs.verdicts is None:
        spec = JudgementsSpec(
            min_coverage=min_coverage,
            pairing=inputs.pipeline.pairing,
            seed=inputs.pipeline.seed,
            numerics=inputs.pipeline.numerics if is_local else None,
            asking=Asking.from_inputs(inputs),
        )
    else:
        spec = RecordedJudgementsSpec(min_coverage=min_coverage, file=inputs.verdicts.path)
    return Stage(
        identity=Identity(
            name="judgements",
            code_version="2",
            inputs=("prompts", "constitution", "judge", "sampled_responses"),
            spec=spec,
            engine=MODEL_ENGINE if is_local else TABLE_ENGINE,
        ),
        computing=Computing(
            compute=compute_judgements if inputs.verdicts is None else compute_recorded_judgements,
            rows_outlive_makers=not is_local,
            cheap=inputs.verdicts is not None,
        ),
        governance=Governance(
            checks=(
                check_judgements(),
                Check(
                    name="coverage",
                    description="At least `gates.min_coverage` in judge.yaml of the questions have a usable verdict.",
                    blocking=True,
                    run=functools.partial(_check_coverage, min_coverage),
                    required=min_coverage,
                ),
            ),
        ),
        planning=Planning(
            description="The judge's verdict on every pair of responses, in both orders.",
            kinds=("parquet", "pytorch") if is_local else ("parquet",),
            origins={"": f"{PIPELINE_FILE}:", "min_coverage": f"{JUDGE_FILE}: gates.min_coverage"},
        ),
    )


def has_local_judge(inputs: ProjectInputs) -> bool:
    """Whether a judge runs here."""
    return any(isinstance(source.settings, LocalJudgeSettings) for source in inputs.judges)


def check_judgements() -> Check:
    """Makes the check of a table of verdicts."""
    key = ("pair_id", "principle_id", "order", "judge", "repeat")
    return check_schema(JUDGEMENTS_TABLE, judgements_schema, key=key)


def compute_judgements(context: StageContext, spec: JudgementsSpec) -> StageResult:
    """Asks the judges."""
    responses = view_responses(context, "response_id", "prompt_id", "text")
    pairs = form_pairs(responses, spec.pairing, spec.seed)
    with ask_about_pairs(
        pairs.pairs,
        read_judges(context.inputs["judge"]),
        context,
        spec.asking,
        spec.numerics,
        prompts={p.prompt_id: p.prompt for p in read_prompts(context.inputs["prompts"])},
        texts={row["response_id"]: row["text"] for row in responses},
        earlier=lambda: (read_answers(folder) for folder in context.services.earlier_versions()),
    ) as asked:
        statuses: Counter[str] = Counter()
        cut: Counter[bool] = Counter()
        write_judgements(context.output, _count(asked.verdicts, statuses, cut))
    return StageResult(
        rows=statuses.total(),
        counts={
            "num_pairs": len(pairs.pairs),
            "num_identical_responses": pairs.num_identical,
            "num_prompts_without_pair": pairs.num_single,
            "num_pairs_over_cap": pairs.num_capped,
            "num_cut": cut[True],
            **asked.counts,
            **{f"num_{status}": count for status, count in sorted(statuses.items())},
        },
        metrics=asked.costs,
        num_open=0 if asked.is_final else statuses.total() - statuses["ok"],
    )


@contextlib.contextmanager
def ask_about_pairs(
    pairs: Sequence[Pair],
    judges: Mapping[str, StoredJudge],
    context: StageContext,
    asking: Asking,
    numerics: NumericsSettings | None,
    *,
    prompts: Mapping[str, str],
    texts: Mapping[str, str],
    earlier: Callable[[], Iterable[Iterable[Answer]]] = tuple,
) -> Iterator[Asked]:
    """Asks judges about pairs by the stage's version of `constitution`.

    Args:
        pairs: The pairs.
        judges: The judges to ask, by name.
        context: The stage's context.
        asking: How fast, where and at what price judges are asked.
        numerics: How judges that run here compute.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.
        earlier: Returns answers that are known from elsewhere.

    Raises:
        JudgeError: If a judge cannot answer at all, or the budget is used up.
    """
    constitution = read_constitution(context.inputs["constitution"])

    def plan(profiles: Sequence[JudgeProfile]) -> Iterator[Question]:
        return plan_questions(pairs, constitution, profiles, prompts=prompts, texts=texts)

    with ask_judges(plan, judges, context, asking, numerics, earlier=earlier) as asked:
        yield asked


@contextlib.contextmanager
def ask_judges(
    plan: Plan,
    judges: Mapping[str, StoredJudge],
    context: StageContext,
    asking: Asking,
    numerics: NumericsSettings | None,
    *,
    earlier: Callable[[], Iterable[Iterable[Answer]]] = tuple,
) -> Iterator[Asked]:
    """Asks judges the questions of a plan.

    Args:
        plan: The questions.
        judges: The judges to ask, by name.
        context: The stage's context.
        asking: How fast, where and at what price judges are asked.
        numerics: How judges that run here compute.
        earlier: Returns answers that are known from elsewhere.

    Raises:
        JudgeError: If a judge cannot answer at all, or the budget is used up.
    """
    profiles = [judge.profile for judge in judges.values()]
    tally = Tally()
    with open_journal(context.journal, context.attempt) as journal:
        for name, judge in judges.items():
            served = asking.served_by.get(name)
            tally.add(
                ask_questions(
                    plan,
                    judge.profile,
                    functools.partial(
                        judge.open,
                        served_by=served,
                        numerics=numerics,
                        batch_size=asking.batch_size,
                        budget=context.services.find_budget(name, served.limits.budget) if served else None,
                    ),
                    journal,
                    earlier=earlier,
                    price=served.price if served else None,
                    progress=context.services.progress,
                )
            )
        yield Asked(
            verdicts=read_verdicts(plan, profiles, journal),
            counts=dict(tally.counts),
            costs=tally.costs,
            is_final=all(profile.is_final for profile in profiles),
        )


def write_judgements(folder: Path, verdicts: Iterable[Verdict]) -> int:
    """Writes verdicts to a table as they arrive; returns the number of rows."""
    rows = (verdict.to_row() for verdict in verdicts)
    return write_table(folder / JUDGEMENTS_TABLE, rows, judgements_schema())


def read_bare_verdicts(folder: Path) -> Iterator[Verdict]:
    """Yields the verdicts of a version, without the judge's answers.

    Equal names are kept in memory once, which saves memory if the caller keeps all verdicts.
    """
    columns = [name for name in judgements_schema().names if name != "answers"]
    for row in stream_table(folder / JUDGEMENTS_TABLE, columns):
        once: Row = {
            name: sys.intern(value) if isinstance(value, str) else value for name, value in row.items()
        }
        yield Verdict(**once, answers=())


def _count(verdicts: Iterable[Verdict], statuses: Counter[str], cut: Counter[bool]) -> Iterator[Verdict]:
    for verdict in verdicts:
        statuses[verdict.status] += 1
        cut[any(answer.cut for answer in verdict.answers)] += 1
        yield verdict


def read_answers(
    folder: Path, table: str = JUDGEMENTS_TABLE, schema: Callable[[], "pa.Schema"] = judgements_schema
) -> Iterator[Answer]:
    """Yields the answers in a version's table; none if the table has another form."""
    if not has_columns(folder / table, schema(), ["answers"]):
        return
    for row in stream_table(folder / table, ["answers"]):
        yield from (Answer(**answer) for answer in row["answers"])


def compute_recorded_judgements(context: StageContext, spec: RecordedJudgementsSpec) -> StageResult:
    """Imports recorded verdicts."""
    from rlaif_dagster.judging.recorded import read_recorded_verdicts

    constitution = read_constitution(context.inputs["constitution"])
    settings = RecordedJudgeSettings.model_validate_json((context.inputs["judge"] / JUDGE_JSON).read_bytes())
    try:
        result = read_recorded_verdicts(
            context.inputs["judge"] / JUDGE_VERDICTS,
            view_responses(context, "response_id", "prompt_id", "source"),
            name=settings.name,
            principle_ids=[principle.id for principle in constitution.principles],
        )
    except InputError as error:
        # The judge's version has a copy of the user's file, line for line: name the file that can be fixed.
        raise InputError(
            error.problem, file=spec.file, line=error.line, field=error.field, remedy=error.remedy
        ) from error
    return StageResult(
        rows=write_judgements(context.output, result.verdicts),
        counts={
            "num_pairs": len(result.pairs),
            "num_missing": result.num_missing,
            "num_other_judges": result.num_other_judges,
            **{f"num_{status}": count for status, count in result.by_status.items()},
        },
    )


def _check_coverage(required: float, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    statuses = Counter(row["status"] for row in stream_table(output / JUDGEMENTS_TABLE, ["status"]))
    coverage = statuses["ok"] / statuses.total() if statuses else 0.0
    return CheckResult(
        passed=coverage >= required,
        facts={
            "coverage": coverage,
            "num_ok": statuses["ok"],
            "num_asked": statuses.total(),
        },
    )
