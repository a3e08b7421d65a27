"""Judges: one small protocol, the requests put to them, and the reuse of answers that exist already."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.settings import JudgingProtocol
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import ORDERS, JudgeRequest, Verdict, identify_verdict
from rlaif_dagster.progress import Progress, ignore_progress


class Judge(Protocol):
    """Anything that answers requests."""

    @property
    def name(self) -> str:
        """The name in the `judge` column."""

    @property
    def fingerprint(self) -> Digest:
        """Covers all that shapes a verdict beside the messages: weights, decoding, parser."""

    def judge(self, requests: Sequence[JudgeRequest], progress: Progress) -> Iterator[Verdict]:
        """Yields one verdict for each request, in any order, each as soon as it is known.

        A request that cannot be answered yields a `failed`, `refused` or `unparsed` verdict.

        Raises:
            JudgeError: If the judge cannot answer at all.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementsResult:
    """Verdicts in the order of the requests, and where they came from.

    Attributes:
        verdicts: One for each request.
        num_asked: Questions put to the judge.
        num_reused: Requests answered by a verdict that was known before.
        by_status: Number of verdicts by status.
    """

    verdicts: tuple[Verdict, ...]
    num_asked: int
    num_reused: int
    by_status: Mapping[str, int]


def plan_requests(
    pairs: Iterable[Pair],
    constitution: Constitution,
    template: Template,
    protocol: JudgingProtocol,
    *,
    judge_fingerprint: Digest,
    prompts: Mapping[str, str],
    texts: Mapping[str, str],
) -> Iterator[JudgeRequest]:
    """Plans the questions: every pair in both orders, by each principle or by all at once.

    Args:
        pairs: The pairs to judge.
        constitution: The principles.
        template: The judge's prompt.
        protocol: "per_principle" or "joint".
        judge_fingerprint: The judge's fingerprint, part of each verdict key.
        prompts: Prompt text by prompt id.
        texts: Response text by response id.
    """
    rules: list[tuple[str | None, str]]
    if protocol == "joint":
        rules = [(None, constitution.joint_text)]
    else:
        rules = [(principle.id, principle.text) for principle in constitution.principles]
    for pair in pairs:
        a, b = texts[pair.response_a], texts[pair.response_b]
        for principle_id, rule in rules:
            for order in ORDERS:
                first, second = (a, b) if order == "ab" else (b, a)
                rendered = template.render(
                    principle=rule, prompt=prompts[pair.prompt_id], first=first, second=second
                )
                messages = tuple(rendered)
                yield JudgeRequest(
                    verdict_id=identify_verdict(judge_fingerprint, messages, order),
                    pair=pair,
                    order=order,
                    principle_id=principle_id,
                    messages=messages,
                )


def collect_judgements(
    requests: Iterable[JudgeRequest],
    judge: Judge,
    known: Mapping[str, Verdict],
    *,
    progress: Progress = ignore_progress,
    save: Callable[[Verdict], None] | None = None,
) -> JudgementsResult:
    """Answers requests: by known verdicts where those are ok, else by the judge.

    Failed, refused and unparsed verdicts are asked again. Requests with the same verdict key (the same
    texts in two pairs) are asked once.

    Args:
        requests: The requests.
        judge: Who is asked.
        known: Verdicts by verdict key.
        progress: Told how far the judge is.
        save: Called with each new verdict as it comes, so that a crash loses none that is known.

    Raises:
        JudgeError: If the judge cannot answer at all, or leaves a request without a verdict.
    """
    requests = list(requests)
    answers: dict[str, Verdict] = {}
    open_requests: dict[str, JudgeRequest] = {}
    for request in requests:
        verdict = known.get(request.verdict_id)
        if verdict is not None and verdict.status == "ok":
            answers[request.verdict_id] = verdict
        else:
            open_requests.setdefault(request.verdict_id, request)
    num_asked = len(open_requests)
    num_reused = sum(request.verdict_id in answers for request in requests)
    for verdict in judge.judge(list(open_requests.values()), progress) if open_requests else ():
        if open_requests.pop(verdict.verdict_id, None) is None:
            raise JudgeError(
                f"judge {judge.name}: a verdict nobody asked for came back: {verdict.verdict_id}"
            )
        answers[verdict.verdict_id] = verdict
        if save is not None:
            save(verdict)
    if open_requests:
        raise JudgeError(
            f"judge {judge.name}: {len(open_requests)} of {num_asked} requests have no verdict; "
            "a judge answers each request, with a status that says why where it has no preference"
        )
    verdicts = tuple(_restate(answers[request.verdict_id], request, judge.name) for request in requests)
    return JudgementsResult(
        verdicts=verdicts,
        num_asked=num_asked,
        num_reused=num_reused,
        by_status=count_statuses(verdicts),
    )


def count_statuses(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Counts verdicts by status, in alphabetical order."""
    return dict(sorted(Counter(verdict.status for verdict in verdicts).items()))


def _restate(verdict: Verdict, request: JudgeRequest, judge: str) -> Verdict:
    """States a verdict as the answer to a request with the same key."""
    return replace(
        verdict,
        pair_id=request.pair.pair_id,
        prompt_id=request.pair.prompt_id,
        response_a=request.pair.response_a,
        response_b=request.pair.response_b,
        principle_id=request.principle_id,
        judge=judge,
    )
