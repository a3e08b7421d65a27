"""Answers questions from known answers, else by asking the judge, at constant memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Final

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Call, Judge, Reply
from rlaif_dagster.judging.journal import Journal
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import Question, conclude, is_settled
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.progress import Progress, ignore_progress
from rlaif_dagster.serving.settings import PriceSettings

TAKEN_AT_ONCE: Final = 64
"""How many calls are planned and looked up together."""

PlanQuestions = Callable[[Sequence[JudgeProfile]], Iterable[Question]]
"""Returns the questions to some judges, the same each time; there may be more than fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedResult:
    """How the questions were answered, and what that cost.

    Attributes:
        num_asked: Number of calls made.
        num_reused: Number of calls answered from known answers.
        input_tokens: Tokens read in these calls, as far as counted.
        output_tokens: Tokens written in them, as far as counted.
        cost: What these tokens cost; None without a price.
        currency: The currency of the cost.
    """

    num_asked: int
    num_reused: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    currency: str | None


@dataclass(slots=True, kw_only=True)
class Tally:
    """The sum of what calls of several judges or passes used.

    Attributes:
        counts: Calls asked and reused, and tokens, by name.
        costs: What the tokens cost, for judges with a price; the name says the currency.
    """

    counts: Counter[str] = field(default_factory=Counter)
    costs: dict[str, float] = field(default_factory=dict)

    def add(self, result: AskedResult) -> None:
        """Adds one judge's calls."""
        self.counts["judge_calls_asked"] += result.num_asked
        self.counts["judge_calls_reused"] += result.num_reused
        self.counts["judge_input_tokens"] += result.input_tokens
        self.counts["judge_output_tokens"] += result.output_tokens
        if result.cost is not None:
            name = f"judge_cost_{result.currency}"
            self.costs[name] = self.costs.get(name, 0.0) + result.cost


def ask_questions(
    plan: PlanQuestions,
    profile: JudgeProfile,
    open_judge: Callable[[], Judge],
    journal: Journal,
    *,
    earlier: Callable[[], Iterable[Iterable[Reply]]] = tuple,
    price: PriceSettings | None = None,
    retry_unparsed: bool = False,
    progress: Progress = ignore_progress,
) -> AskedResult:
    """Makes sure that every call of one judge's questions has an answer in the journal; see `answer_calls`.

    Args:
        plan: The questions.
        profile: The judge's profile.
        open_judge: Opens the judge.
        journal: Where answers are stored.
        earlier: Returns answers known from elsewhere.
        price: What tokens cost.
        retry_unparsed: Whether calls whose replies have no verdict are asked again; see `is_settled`.
        progress: Called with the judge's progress and what was spent.
    """

    def calls() -> Iterator[Call]:
        return (call for question in plan([profile]) for call in question.calls)

    return answer_calls(
        calls,
        profile,
        open_judge,
        journal,
        what=f"verdicts of {profile.name}",
        earlier=earlier,
        price=price,
        retry_unparsed=retry_unparsed,
        progress=progress,
    )


def answer_calls(
    calls: Callable[[], Iterable[Call]],
    profile: JudgeProfile,
    open_judge: Callable[[], Judge],
    journal: Journal,
    *,
    what: str,
    earlier: Callable[[], Iterable[Iterable[Reply]]] = tuple,
    price: PriceSettings | None = None,
    retry_unparsed: bool = False,
    progress: Progress = ignore_progress,
) -> AskedResult:
    """Makes sure that every call has an answer in the journal.

    Answers that settle a call (see `is_settled`) are taken from the journal, then from earlier versions as long as any
    are missing. The judge is asked the rest, each call once, and is opened only for that.

    Args:
        calls: Returns the calls, the same each time; there may be more than fit into memory.
        profile: The judge's profile.
        open_judge: Opens the judge.
        journal: Where answers are stored.
        what: A noun for the answers, for people.
        earlier: Returns answers known from elsewhere, in batches; read only while calls are open.
        price: What tokens cost.
        retry_unparsed: Whether calls whose replies have no verdict are asked again; see `is_settled`.
        progress: Called with the judge's progress and what was spent.

    Raises:
        JudgeError: If the judge cannot answer at all, the budget is used up, or it leaves a call without an answer.
    """
    journal.want(call.call_id for call in calls())
    num_wanted = journal.count_open()

    def settles(answer: Reply) -> bool:
        return is_settled(answer, profile, retry_unparsed=retry_unparsed)

    journal.settle(filter(settles, journal.find_known()))
    for answers in earlier() if journal.count_open() else ():
        journal.settle(filter(settles, answers))
        if not journal.count_open():
            break
    num_open = journal.count_open()
    spent: Counter[str] = Counter()
    if num_open:
        asked = open_judge().ask(_take_open(calls(), journal))
        num_done = 0
        for answers in asked:
            journal.add(answers)
            num_done += len(answers)
            spent["input"] += sum(answer.input_tokens or 0 for answer in answers)
            spent["output"] += sum(answer.output_tokens or 0 for answer in answers)
            progress(what, num_done, num_open, _describe_spend(spent, price))
        if missing := journal.count_open():
            raise JudgeError(
                f"judge {profile.name}: {missing} of {num_open} calls have no answer; "
                "a judge must answer each call, if only with a status that says why there is no answer"
            )
    return AskedResult(
        num_asked=num_open,
        num_reused=num_wanted - num_open,
        input_tokens=spent["input"],
        output_tokens=spent["output"],
        cost=price.find_cost(spent["input"], spent["output"]) if price else None,
        currency=price.currency if price else None,
    )


def _take_open(calls: Iterable[Call], journal: Journal) -> Iterator[Call]:
    """Yields the open calls; looks several up at a time, which is faster than one by one."""
    left = iter(calls)
    while some := list(islice(left, TAKEN_AT_ONCE)):
        yield from compress(some, journal.take([call.call_id for call in some]))


def _describe_spend(spent: Mapping[str, int], price: PriceSettings | None) -> str:
    """Describes what was spent so far, for people; empty if there is no price."""
    if price is None:
        return ""
    tokens = spent["input"] + spent["output"]
    return f"{tokens:,} tokens, {price.find_cost(spent['input'], spent['output']):.2f} {price.currency}"


def read_verdicts(
    plan: PlanQuestions, profiles: Sequence[JudgeProfile], journal: Journal
) -> Iterator[Verdict]:
    """Yields the verdict on each question, in order, after all are answered.

    Raises:
        JudgeError: If a question has no answer.
    """
    by_name = {profile.name: profile for profile in profiles}
    for question in plan(profiles):
        answers = [journal.require(call.call_id) for call in question.calls]
        yield conclude(question, by_name[question.judge], answers)


def count_statuses(statuses: Iterable[str]) -> Mapping[str, int]:
    """Counts verdicts by status, in alphabetical order."""
    return dict(sorted(Counter(statuses).items()))
