"""Estimates what asking judges will cost: the calls that no earlier version answers, and what they use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rlaif_dagster.graph.fees import FeeMeter, UsageRanges, add_usages
from rlaif_dagster.graph.judging import Asking, read_answers
from rlaif_dagster.graph.price import UNKNOWN, Price, PriceContext, Range
from rlaif_dagster.inputs.project_inputs import JudgeSource, ProjectInputs
from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.journal import look_into_journal
from rlaif_dagster.judging.opening import read_judges
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import is_settled, plan_questions
from rlaif_dagster.names import EVALUATION_JUDGE, JUDGE
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row


def price_pairs(
    inputs: ProjectInputs,
    context: PriceContext,
    *,
    pairs: Sequence[Pair],
    num_open_pairs: int | None,
    prompts: Iterable[Prompt],
    responses: Iterable[Row],
    judge: str = JUDGE,
) -> Price:
    """Estimates the price of calls about pairs that are certain, and about possible others (None: any number)."""
    profiles = profile_judges(inputs, context, judge)
    by_name = {profile.name: profile for profile in profiles}
    prompt_texts = {prompt.prompt_id: prompt.prompt for prompt in prompts}
    texts = {row["response_id"]: row["text"] for row in responses}

    def list_calls() -> Iterator[tuple[str, Call]]:
        questions = plan_questions(pairs, inputs.constitution, profiles, prompts=prompt_texts, texts=texts)
        return ((question.judge, call) for question in questions for call in question.calls)

    calls = {call.call_id: by_name[name] for name, call in list_calls()}
    sources = _find_sources(inputs, judge)
    new = _find_open(calls, context, Asking.of_judges((one.settings for one in sources), batch_size=1))
    most = (
        None if num_open_pairs is None else len(new) + num_open_pairs * count_calls_per_pair(inputs, profiles)
    )
    usage, meter = None, FeeMeter(sources)
    if meter.tells:
        asked = {call.call_id: (name, call) for name, call in list_calls() if call.call_id in new}
        usage = add_usages(meter.bound(name, call) for name, call in asked.values())
        if most != len(new):
            usage = add_usages([usage, (UNKNOWN, UNKNOWN)])
    return price_calls(Range(min=len(new), max=most), len(calls) - len(new), sources, context, usage)


def price_calls(
    calls: Range,
    num_reused: int,
    sources: Sequence[JudgeSource],
    context: PriceContext,
    usage: UsageRanges | None = None,
) -> Price:
    """Estimates the price of calls to judges, from their earlier calls or from bounds."""
    counts = context.counts or {}
    num_asked = counts.get("judge_calls_asked", 0)
    read, written = counts.get("judge_input_tokens", 0), counts.get("judge_output_tokens", 0)
    tokens = cost = Range() if calls.max == 0 else None
    meter = FeeMeter(sources)
    if calls.max != 0 and meter.tells:
        tokens, cost = usage or (UNKNOWN, UNKNOWN)
    if num_asked and read:
        tokens = calls.scale((read + written) / num_asked)
        prices = [source.settings.token_price for source in sources]
        if len(prices) == 1 and prices[0] is not None:
            fees = read * prices[0].input_per_million + written * prices[0].output_per_million
            cost = calls.scale(fees / 1e6 / num_asked)
    return Price(
        judge_calls=calls, judge_calls_reused=num_reused, tokens=tokens, cost=cost, currency=meter.currency
    )


def profile_judges(inputs: ProjectInputs, context: PriceContext, judge: str = JUDGE) -> list[JudgeProfile]:
    """Profiles the judges that are asked. A judge whose model is not here yet matches no earlier answer."""
    folder = context.inputs[judge].open()
    if folder is not None:
        return [one.profile for one in read_judges(folder).values()]
    return [
        JudgeProfile.from_settings(source.settings, source.template, model=None)
        for source in _find_sources(inputs, judge)
    ]


def _find_sources(inputs: ProjectInputs, judge: str) -> Sequence[JudgeSource]:
    other = inputs.evaluation_judge
    return (other,) if judge == EVALUATION_JUDGE and other else inputs.judges


def count_calls_per_pair(inputs: ProjectInputs, profiles: Sequence[JudgeProfile]) -> int:
    """Counts the calls about a pair whose texts were never judged."""
    questions = plan_questions(
        [Pair.from_responses("prompt", "a", "b")],
        inputs.constitution,
        profiles,
        prompts={"prompt": ""},
        texts={"a": "a", "b": "b"},
    )
    return len({call.call_id for question in questions for call in question.calls})


def _find_open(calls: Mapping[str, JudgeProfile], context: PriceContext, asking: Asking) -> set[str]:
    """Finds the calls answered neither in the journal nor in earlier versions; reads as few versions as needed.

    As in `find_earlier_answers`, answers of a judge that runs here count only in versions of the same code.
    """

    def take_off(answers: Iterable[Reply], left: set[str]) -> None:
        left -= {
            answer.call_id
            for answer in answers
            if answer.call_id in left
            and is_settled(
                answer,
                calls[answer.call_id],
                retry_unparsed=calls[answer.call_id].name in asking.retries_unparsed,
            )
        }

    found_open: set[str] = set()
    kept = list(look_into_journal(context.journal))
    for is_local in (True, False):
        left = {name for name, profile in calls.items() if profile.is_local is is_local}
        take_off(kept, left)
        for folder in context.earlier_versions(of_any_code=not is_local) if left else ():
            take_off(read_answers(folder), left)
            if not left:
                break
        found_open |= left
    return found_open
