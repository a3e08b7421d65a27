"""Makes the rows of an audit from this package's own tables.

There are two views of the same verdicts. A *verdict* row is one answer of a judge: one principle, one order. A *label*
row is the weighted combination of all principles on a pair in one order: it is what models are trained on. If the
ground truth prefers neither answer, the pair counts as one without ground truth, because a judge has to choose.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from rlaif_dagster.judge_quality.rows import JudgedRow, Label, PairFacts
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.settings import JudgingProtocol
from rlaif_dagster.judging.verdicts import ORDERS, Verdict, lean
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts

_NEITHER: Final = 0.5

GroundTruth = Callable[[Pair, str | None], Label | None]
"""Says which answer of a pair is better by a principle (None: by all); None if unknown, or neither is."""


def no_ground_truth(pair: Pair, principle_id: str | None) -> None:
    """The ground truth of a project without one: always None."""
    del pair, principle_id


def embedded_ground_truth(
    constitution: Constitution, prompts: Mapping[str, str], texts: Mapping[str, str]
) -> GroundTruth:
    """Makes the ground truth of the embedded world.

    Args:
        constitution: The principles.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.
    """
    from rlaif_dagster.world.ground_truth import ground_truth_preference

    rules: dict[str | None, list[tuple[str, float]]] = {
        p.id: [(p.text, 1.0)] for p in constitution.principles
    }
    rules[None] = [(p.text, p.weight) for p in constitution.principles]

    def find(pair: Pair, principle_id: str | None) -> Label | None:
        value = ground_truth_preference(
            rules[principle_id], prompts[pair.prompt_id], texts[pair.response_a], texts[pair.response_b]
        )
        return None if value is None or value == _NEITHER else "a" if value > _NEITHER else "b"

    return find


def list_verdict_rows(
    verdicts: Iterable[Verdict], responses: Mapping[str, Mapping[str, Any]], ground_truth: GroundTruth
) -> Iterator[tuple[str | None, JudgedRow]]:
    """Yields each verdict's principle and row; a pair judged by two principles is two pairs of the same prompt.

    Args:
        verdicts: The verdicts.
        responses: Rows with `text` and `source` by response id.
        ground_truth: The ground truth.
    """
    facts: dict[tuple[str, str | None], PairFacts] = {}
    for verdict in verdicts:
        key = (verdict.pair_id, verdict.principle_id)
        if key not in facts:
            facts[key] = _state_facts(verdict.pair, verdict.principle_id, responses, ground_truth)
        yield (
            verdict.principle_id,
            JudgedRow(
                pair=facts[key],
                judge=verdict.judge,
                order=verdict.order,
                repeat=verdict.repeat,
                verdict=verdict.verdict,
                status=verdict.status,
                p_first=verdict.p_first,
            ),
        )


def list_label_rows(
    verdicts: Iterable[Verdict],
    responses: Mapping[str, Mapping[str, Any]],
    *,
    constitution: Constitution,
    settings: PreferenceSettings,
    protocol: JudgingProtocol,
    ground_truth: GroundTruth,
) -> Iterator[JudgedRow]:
    """Yields each judge's labels by order, for pairs that have one; includes near ties and flips.

    Args:
        verdicts: The verdicts.
        responses: Rows with `response_id`, `text`, `finish_reason` and `source` by response id.
        constitution: The principles' weights.
        settings: Which pairs get a label.
        protocol: The principles by which each pair had to be judged.
        ground_truth: The ground truth.
    """
    keep_all = settings.model_copy(update={"keep_near_ties": True, "keep_inconsistent": True})
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_judge.setdefault(verdict.judge, []).append(verdict)
    for judge, given in sorted(by_judge.items()):
        result = aggregate_verdicts(
            given,
            constitution=constitution,
            prompts=({"prompt_id": v.prompt_id, "prompt": "", "split": "train"} for v in given),
            responses=responses.values(),
            settings=keep_all,
            protocol=protocol,
        )
        for row in result.rows:
            pair = Pair.from_responses(row["prompt_id"], row["response_a"], row["response_b"])
            facts = _state_facts(pair, None, responses, ground_truth)
            for order, p_a in zip(ORDERS, (row["p_a_ab"], row["p_a_ba"]), strict=True):
                if p_a is not None:
                    p_first = p_a if order == "ab" else 1.0 - p_a
                    yield JudgedRow(
                        pair=facts,
                        judge=judge,
                        order=order,
                        verdict=lean(p_first),
                        status="ok",
                        p_first=p_first,
                    )


def _state_facts(
    pair: Pair,
    principle_id: str | None,
    responses: Mapping[str, Mapping[str, Any]],
    ground_truth: GroundTruth,
) -> PairFacts:
    a, b = responses[pair.response_a], responses[pair.response_b]
    return PairFacts(
        pair_id=pair.pair_id if principle_id is None else f"{pair.pair_id}/{principle_id}",
        prompt_id=pair.prompt_id,
        ground_truth=ground_truth(pair, principle_id),
        len_a=len(a["text"]),
        len_b=len(b["text"]),
        source_a=a["source"],
        source_b=b["source"],
    )
