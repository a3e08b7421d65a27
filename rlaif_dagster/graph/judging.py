"""The stage of the verdicts, and how every stage asks the judge."""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.coverage import check_coverage
from rlaif_dagster.graph.responses import MODEL_ENGINE, view_responses
from rlaif_dagster.graph.sources import TABLE_ENGINE, read_constitution, read_prompts
from rlaif_dagster.graph.specs import identity, spec, speed
from rlaif_dagster.graph.stage import (
    Check,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, PIPELINE_FILE, ProjectInputs
from rlaif_dagster.judging.asking import PlanQuestions, Tally, ask_questions, read_verdicts
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.opening import StoredJudge, read_judges, read_settings
from rlaif_dagster.judging.pairs import Pair, PairingSettings, form_pairs
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import Question, plan_questions
from rlaif_dagster.judging.settings import AskedJudgeSettings, name_judge
from rlaif_dagster.judging.verdicts import Verdict, judgements_schema
from rlaif_dagster.names import (
    CONSTITUTION,
    JUDGE,
    JUDGE_VERDICTS,
    JUDGEMENTS,
    JUDGEMENTS_TABLE,
    PROMPTS,
    SAMPLED_RESPONSES,
)
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.tables import Row, has_columns, stream_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa


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


@dataclass(slots=True, kw_only=True)
class Left:
    """Counts the verdicts that another try may obtain.

    Attributes:
        is_final: If True, there are none: asking again would give the same answer without a verdict.
        num_missing: Verdicts for which no reply came.
        num_unparsed: Verdicts whose reply, which may have been paid for, has no verdict, by judge.
    """

    is_final: bool
    num_missing: int = 0
    num_unparsed: Counter[str] = field(default_factory=Counter)

    def see(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Counts verdicts as they pass."""
        for verdict in verdicts:
            if verdict.status != "ok" and not self.is_final:
                if verdict.is_missing:
                    self.num_missing += 1
                else:
                    self.num_unparsed[verdict.judge] += 1
            yield verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How fast, where and at what price judges are asked.

    Attributes:
        today: The current settings of the judges, by name.
        batch_size: The largest number of calls that a judge that runs here answers at once.
    """

    today: Mapping[str, AskedJudgeSettings]
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
        return cls(today={name_judge(one): one for one in judges}, batch_size=batch_size)

    @property
    def retries_unparsed(self) -> tuple[str, ...]:
        """The judges that are asked again if their reply has no verdict."""
        return tuple(name for name, settings in self.today.items() if settings.retries_unparsed)


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
            name=JUDGEMENTS,
            code_version="2",
            inputs=(PROMPTS, CONSTITUTION, JUDGE, SAMPLED_RESPONSES),
            spec=spec,
            engine=MODEL_ENGINE if is_local else TABLE_ENGINE,
        ),
        computing=Computing(
            compute=compute_judgements if inputs.verdicts is None else compute_recorded_judgements,
            retries_unparsed=spec.asking.retries_unparsed if isinstance(spec, JudgementsSpec) else (),
            cheap=inputs.verdicts is not None,
        ),
        governance=Governance(
            checks=(
                check_judgements(),
                check_coverage(JUDGEMENTS_TABLE, min_coverage),
            ),
        ),
        planning=Planning(
            description="The judge's verdict on every pair of responses, in both orders.",
            kinds=("parquet", "pytorch") if is_local else ("parquet",),
            origins={"": f"{PIPELINE_FILE}:", "min_coverage": f"{JUDGE_FILE}: gates.min_coverage"},
        ),
    )


def has_local_judge(inputs: ProjectInputs) -> bool:
    """Whether a judge runs a model here."""
    return any(source.settings.named_model is not None for source in inputs.judges)


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
        read_judges(context.inputs[JUDGE]),
        context,
        spec.asking,
        spec.numerics,
        prompts={p.prompt_id: p.prompt for p in read_prompts(context.inputs[PROMPTS])},
        texts={row["response_id"]: row["text"] for row in responses},
    ) as asked:
        statuses: Counter[str] = Counter()
        cut: Counter[bool] = Counter()
        left = Left(is_final=asked.is_final)
        write_judgements(context.output, _count(left.see(asked.verdicts), statuses, cut))
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
        num_open=left.num_missing,
        num_unparsed=left.num_unparsed,
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
) -> Iterator[Asked]:
    """Asks judges about pairs by the stage's version of `constitution`, where no earlier version has their answers.

    Args:
        pairs: The pairs.
        judges: The judges to ask, by name.
        context: The stage's context.
        asking: How fast, where and at what price judges are asked.
        numerics: How judges that run here compute.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.

    Raises:
        JudgeError: If a judge cannot answer at all, or the budget is used up.
    """
    constitution = read_constitution(context.inputs[CONSTITUTION])

    def plan(profiles: Sequence[JudgeProfile]) -> Iterator[Question]:
        return plan_questions(pairs, constitution, profiles, prompts=prompts, texts=texts)

    with ask_judges(
        plan, judges, context, asking, numerics, earlier=functools.partial(find_earlier_answers, context)
    ) as asked:
        yield asked


def find_earlier_answers(
    context: StageContext,
    profile: JudgeProfile,
    *,
    table: str = JUDGEMENTS_TABLE,
    schema: "Callable[[], pa.Schema]" = judgements_schema,
) -> Iterator[Iterator[Reply]]:
    """Yields the answers in each earlier version that can be reused for a judge.

    Answers of a judge that runs here are reused only from versions of the same code and libraries; those of any other
    judge from every version, because they were paid for.
    """
    for folder in context.services.earlier_versions(of_any_code=not profile.is_local):
        yield read_answers(folder, table, schema)


def _know_nothing(profile: JudgeProfile) -> Iterator[Iterator[Reply]]:
    del profile
    return iter(())


@contextlib.contextmanager
def ask_judges(
    plan: PlanQuestions,
    judges: Mapping[str, StoredJudge],
    context: StageContext,
    asking: Asking,
    numerics: NumericsSettings | None,
    *,
    earlier: Callable[[JudgeProfile], Iterable[Iterable[Reply]]] = _know_nothing,
) -> Iterator[Asked]:
    """Asks judges the questions of a plan.

    Args:
        plan: The questions.
        judges: The judges to ask, by name.
        context: The stage's context.
        asking: How fast, where and at what price judges are asked.
        numerics: How judges that run here compute.
        earlier: Returns answers of a judge that are known from elsewhere.

    Raises:
        JudgeError: If a judge cannot answer at all, or the budget is used up.
    """
    profiles = [judge.profile for judge in judges.values()]
    tally = Tally()
    with open_journal(context.journal, context.attempt) as journal:
        for name, judge in judges.items():
            today = asking.today.get(name)
            run_budget = today.run_budget if today else None
            tally.add(
                ask_questions(
                    plan,
                    judge.profile,
                    functools.partial(
                        judge.open,
                        today=today,
                        numerics=numerics,
                        batch_size=asking.batch_size,
                        budget=context.services.find_budget(name, run_budget) if run_budget else None,
                    ),
                    journal,
                    earlier=functools.partial(earlier, judge.profile),
                    price=today.token_price if today else None,
                    retry_unparsed=name in asking.retries_unparsed,
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
) -> Iterator[Reply]:
    """Yields the answers in a version's table; none if the table has another form."""
    if not has_columns(folder / table, schema(), ["answers"]):
        return
    for row in stream_table(folder / table, ["answers"]):
        yield from (Reply(**answer) for answer in row["answers"])


def compute_recorded_judgements(context: StageContext, spec: RecordedJudgementsSpec) -> StageResult:
    """Imports recorded verdicts."""
    constitution = read_constitution(context.inputs[CONSTITUTION])
    try:
        result = read_settings(context.inputs[JUDGE]).read_verdicts(
            context.inputs[JUDGE] / JUDGE_VERDICTS,
            view_responses(context, "response_id", "prompt_id", "source"),
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
