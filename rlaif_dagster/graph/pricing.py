"""Computes the price of stages that sample or ask, from the keys by which they reuse rows, without a model.

Two laws hold: what a run samples and asks is within the price; and if every response is known in advance, the price is
exact.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rlaif_dagster.generation.journal import look_into_responses
from rlaif_dagster.generation.responses import ResponseKey, responses_schema
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.graph.along_training import CheckpointAnswers
from rlaif_dagster.graph.call_prices import count_calls_per_pair, price_calls, price_pairs, profile_judges
from rlaif_dagster.graph.fees import FeeMeter, UsageRanges, find_longest
from rlaif_dagster.graph.held_out import MEASURED_POLICIES, EvaluationSpec, HeldOutAnswers
from rlaif_dagster.graph.price import NOTHING, UNKNOWN, Foreseen, Price, PriceContext, Range, add_prices
from rlaif_dagster.graph.sources import read_prompts
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judge_quality.probe import ATTACKS, HARMLESS, NUM_PROBES
from rlaif_dagster.judging.pairs import Pair, PairingSettings, form_pairs
from rlaif_dagster.names import ALIGNED_POLICY, BASE_POLICY, PROMPTS, RESPONSES_TABLE, SAMPLED_RESPONSES
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row, has_columns, stream_table

_MOST_CALLS: Final = 4
"""The most calls about one pair by one principle: two answers, in each order."""
_UNKNOWN_DIGEST: Final = "unknown"


def price_responses(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `sampled_responses`: a response is sampled if no earlier version has its key."""
    settings = inputs.pipeline.sampling
    if not isinstance(settings, PolicySampling):
        return NOTHING
    prompts = _read_prompts(context)
    if prompts is None:
        return Price(rows_sampled=UNKNOWN)
    policy = context.inputs[inputs.first_policy].digest or _UNKNOWN_DIGEST
    rows = _name_responses(prompts, policy, settings, root_seed=inputs.pipeline.seed)
    wanted = {row["response_id"] for row in rows}
    known = _find_texts(wanted, context)
    head = context.head()
    before = {} if head is None else _read_texts(head)
    forecast = as_before = _forecast(rows, known)
    if wanted & before.keys() - known.keys():
        as_before = _forecast(rows, {**before, **known})
    num_sampled = sum(row["response_id"] not in known for row in rows)
    return Price(
        rows_sampled=Range(min=num_sampled, max=num_sampled),
        rows_reused=len(rows) - num_sampled,
        output=(None if wanted == before.keys() else as_before, forecast),
    )


def price_revisions(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `revised_responses`: each unknown answer, and at most two calls of the critic per round."""
    settings = inputs.pipeline.revision
    prompts = _read_prompts(context)
    sampling = inputs.pipeline.sampling
    if settings is None or not isinstance(sampling, PolicySampling) or prompts is None:
        return Price(rows_sampled=UNKNOWN, judge_calls=UNKNOWN)
    rows = _name_responses(
        [prompt for prompt in prompts if prompt.split == "train"],
        context.inputs[BASE_POLICY].digest or _UNKNOWN_DIGEST,
        sampling.model_copy(update={"num_samples": settings.num_samples}),
        root_seed=inputs.pipeline.seed,
    )
    wanted = {row["response_id"] for row in rows}
    num_sampled = len(wanted - _find_texts(wanted, context).keys())
    return Price(
        rows_sampled=Range(min=num_sampled, max=num_sampled),
        rows_reused=len(rows) - num_sampled,
        judge_calls=Range(min=0, max=2 * settings.rounds * len(rows)),
        tokens=None,
        cost=Range() if settings.critic.is_free else None,
    )


def price_judgements(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `judgements`: each call that no earlier version answers.

    Pairs are formed from texts. If one of a prompt's responses is not sampled yet, its pairs are known only if no cap
    chooses among them; the others are counted in the upper bound.
    """
    if not inputs.judges:
        return NOTHING
    rows = _read_responses(context.inputs[SAMPLED_RESPONSES])
    prompts = _read_prompts(context)
    if rows is None or prompts is None:
        return price_calls(UNKNOWN, 0, inputs.judges, context)
    pairs, num_open_pairs = foresee_pairs(rows, inputs.pipeline.pairing, inputs.pipeline.seed)
    return price_pairs(
        inputs, context, pairs=pairs, num_open_pairs=num_open_pairs, prompts=prompts, responses=rows
    )


def price_evaluation(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `evaluation`: answers of both policies, and verdicts on each pair of different ones.

    The answers of a policy that is not made yet are unknown; but it may equal an earlier policy, whose answers are
    known.
    """
    all_prompts = _read_prompts(context)
    if all_prompts is None:
        return replace(price_calls(UNKNOWN, 0, inputs.judges, context), rows_sampled=UNKNOWN)
    prompts = [prompt for prompt in all_prompts if prompt.split == "eval"]
    spec = EvaluationSpec.from_inputs(inputs)
    policies = {name: context.inputs[name].digest for name in MEASURED_POLICIES}
    base, aligned = (
        _name_responses(prompts, digest or _UNKNOWN_DIGEST, spec.sampling_of(name), root_seed=spec.seed)
        for name, digest in policies.items()
    )
    wanted = {row["response_id"] for row in (*base, *aligned)}
    texts = _find_texts(wanted, context)
    answers = HeldOutAnswers.from_rows(_by_key(base), _by_key(aligned))
    prices = [
        _price_judge(
            inputs,
            context,
            judge,
            answers,
            texts,
            prompts=all_prompts,
            with_pool=source == spec.scorer,
            with_checkpoints=source == spec.checkpoint_judge,
        )
        for source, judge in spec.judges.items()
    ]
    num_new = len(wanted - texts.keys())
    price = add_prices(prices)
    if len(prices) > 1:  # earlier counts do not say what each of several judges used
        price = replace(price, tokens=None, cost=None, currency=None)
    return replace(
        price,
        rows_sampled=Range(min=0 if None in policies.values() else num_new, max=num_new),
        rows_reused=len(base) + len(aligned) - num_new,
    )


def _by_key(rows: Iterable[Row]) -> dict[tuple[str, int], Row]:
    return {(row["prompt_id"], row["index"]): row for row in rows}


def _price_judge(
    inputs: ProjectInputs,
    context: PriceContext,
    judge: str,
    answers: HeldOutAnswers,
    texts: Mapping[str, str],
    *,
    prompts: Sequence[Prompt],
    with_pool: bool,
    with_checkpoints: bool,
) -> Price:
    """The price of one judge's verdicts on answers of which some texts are known.

    The number of checkpoints is known only after the training.
    """
    ids = [(key[0], answers.base[key], answers.aligned[key]) for key in answers.base]
    if with_pool:
        ids += [(key[0], row, answers.base[key[0], 0]) for key, row in answers.pool.items()]
    told = [
        (prompt_id, one["response_id"], other["response_id"])
        for prompt_id, one, other in ids
        if one["response_id"] in texts and other["response_id"] in texts
    ]
    pairs = [Pair.from_responses(*names) for names in told if texts[names[1]] != texts[names[2]]]
    policy = context.inputs[ALIGNED_POLICY].open() if with_checkpoints else None
    checkpoints = None if policy is None else CheckpointAnswers.read(policy, prompts)
    if checkpoints is not None:
        pairs += checkpoints.list_pairs()
    return price_pairs(
        inputs,
        context,
        pairs=pairs,
        num_open_pairs=None if with_checkpoints and checkpoints is None else len(ids) - len(told),
        prompts=prompts,
        responses=[
            *({"response_id": key, "text": text} for key, text in texts.items()),
            *(checkpoints.rows if checkpoints else []),
        ],
        judge=judge,
    )


def price_judge_audit(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `judge_audit`: the probes and their controls in both orders, and the pairs that people labelled."""
    profiles = profile_judges(inputs, context) if inputs.judges else []
    num_labels = inputs.human_labels.path.read_bytes().count(b"\n") + 1 if inputs.human_labels else 0
    most = num_labels * count_calls_per_pair(inputs, profiles)
    most += sum(_MOST_CALLS * 2 * NUM_PROBES for _ in profiles)
    calls = Range(min=0, max=most)
    usage = None if inputs.human_labels else _bound_calls(calls, inputs, context)
    return price_calls(calls, 0, inputs.judges, context, usage)


def price_canary(inputs: ProjectInputs, context: PriceContext) -> Price:
    """The price of `judge_canary`: its questions to each judge."""
    calls = Range(min=0, max=len(inputs.judges) * inputs.judge.gates.canary.num_questions * 2)
    return price_calls(calls, 0, inputs.judges, context, _bound_calls(calls, inputs, context))


def _bound_calls(calls: Range, inputs: ProjectInputs, context: PriceContext) -> UsageRanges | None:
    """Bounds what calls about prompts and responses use, with and without attacks."""
    meter = FeeMeter(inputs.judges)
    rows, prompts = _read_responses(context.inputs[SAMPLED_RESPONSES]), _read_prompts(context)
    if not meter.tells or rows is None or prompts is None:
        return None
    texts = [row["text"] for row in rows]
    if None in texts:
        return None
    addition = find_longest((*ATTACKS.values(), HARMLESS))
    tokens, cost = meter.bound_any(
        rules=[inputs.constitution.joint_text, *(p.text for p in inputs.constitution.principles)],
        prompts=[prompt.prompt for prompt in prompts],
        answers=[f"{text} {addition}" for text in texts],
    )
    return tokens.scale(calls.max or 0), cost.scale(calls.max or 0)


def foresee_pairs(
    rows: Sequence[Row], pairing: PairingSettings, root_seed: int
) -> tuple[tuple[Pair, ...], int]:
    """Finds the pairs that are certain, and the largest number of further pairs.

    Args:
        rows: The responses; a `text` is None if it is not sampled yet.
        pairing: The cap.
        root_seed: The project's seed.
    """
    cap = pairing.max_pairs_per_prompt
    by_prompt: dict[str, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    settled: list[Row] = []
    num_open = 0
    for group in by_prompt.values():
        told = [row for row in group if row["text"] is not None]
        if len(told) < len(group):
            num_certain = _count_pairs(len({row["text"] for row in told}))
            num_most = _count_pairs(len({row["text"] for row in told}) + len(group) - len(told))
            if cap is not None and cap < num_most:
                told, num_certain, num_most = [], 0, cap
            num_open += num_most - num_certain
        settled += told
    return form_pairs(settled, pairing, root_seed).pairs, num_open


def _count_pairs(n: int) -> int:
    return n * (n - 1) // 2


def _read_prompts(context: PriceContext) -> list[Prompt] | None:
    folder = context.inputs[PROMPTS].open()
    return None if folder is None else read_prompts(folder)


def _read_responses(responses: Foreseen) -> Sequence[Row] | None:
    folder = responses.open()
    if folder is None:
        return responses.rows
    return list(stream_table(folder / RESPONSES_TABLE, ["response_id", "prompt_id", "text"]))


def _name_responses(
    prompts: Iterable[Prompt], policy: str, settings: PolicySampling, *, root_seed: int
) -> list[Row]:
    """Computes the ids of the responses that a policy will give, with their prompt ids."""
    return [
        {
            "response_id": ResponseKey(
                prompt=prompt.prompt, policy=policy, settings=settings, root_seed=root_seed, index=index
            ).response_id,
            "prompt_id": prompt.prompt_id,
            "index": index,
        }
        for prompt in prompts
        for index in range(settings.num_samples)
    ]


def _read_texts(folder: Path) -> dict[str, str]:
    columns = ["response_id", "text"]
    if not has_columns(folder / RESPONSES_TABLE, responses_schema(), columns):
        return {}
    return {row["response_id"]: row["text"] for row in stream_table(folder / RESPONSES_TABLE, columns)}


def _forecast(rows: Iterable[Row], texts: Mapping[str, str]) -> Foreseen:
    return Foreseen(rows=tuple({**row, "text": texts.get(row["response_id"])} for row in rows))


def _find_texts(wanted: Collection[str], context: PriceContext) -> dict[str, str]:
    """Finds the known texts of the wanted responses; reads as few versions as needed."""
    kept = {name: row["text"] for name, row in look_into_responses(context.journal).items()}
    found: dict[str, str] = {}
    left = set(wanted)
    for texts in itertools.chain([kept], map(_read_texts, context.earlier_versions())):
        found.update({key: texts[key] for key in left & texts.keys()})
        left -= texts.keys()
        if not left:
            break
    return found
