"""Criticises and revises answers in rounds, each by a principle drawn from the content."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlaif_dagster.generation.dialogues import AnsweredPrompt
from rlaif_dagster.judging.calls import Call, Reply, answer_type
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.questions import draw_principle

if TYPE_CHECKING:
    import pyarrow as pa

RevisionStatus = Literal["ok", "failed", "refused", "empty", "cut"]
"""`empty`: nothing was written; `cut`: the text reached its token limit, so its end is missing."""

AnswerAll = Callable[[JudgeProfile, Sequence[Call]], Mapping[str, Reply]]
"""A function that has a writer answer calls, and returns the answers by call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A row of `revised_responses`: one round of one answer.

    Attributes:
        response_id: The answer that the first round started from.
        prompt_id: Its prompt.
        round: The round, from 1.
        principle_id: The principle drawn for this answer and round.
        prompt: The prompt's text.
        answer: The answer before this round.
        critique: The critique; None if there is no usable one.
        revised: The answer after this round; None if there is no usable one.
        status: Whether there is a revised answer, and if not why.
        answers: The critic's answers to the calls of this round: critique, then revision.
    """

    response_id: str
    prompt_id: str
    round: int
    principle_id: str
    prompt: str
    answer: str
    critique: str | None
    revised: str | None
    status: RevisionStatus
    answers: tuple[Reply, ...]

    def to_row(self) -> dict[str, Any]:
        """The row of the table."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """The critic and the reviser: one model with two prompts.

    Attributes:
        critic: Writes critiques.
        reviser: Writes revised answers.
        max_tokens: The longest text that they write; a text of this length counts as cut.
    """

    critic: JudgeProfile
    reviser: JudgeProfile
    max_tokens: int


@dataclass(frozen=True, slots=True)
class _Draft:
    """An answer between two rounds."""

    response_id: str
    prompt_id: str
    prompt: str
    text: str


def revise_responses(
    responses: Iterable[Mapping[str, Any]],
    prompts: Mapping[str, str],
    constitution: Constitution,
    writers: Writers,
    answer_all: AnswerAll,
    *,
    rounds: int,
) -> list[Revision]:
    """Criticises and revises answers.

    An answer without a usable revision stops at that round, and its row says why.

    Args:
        responses: Rows with `response_id`, `prompt_id` and `text`.
        prompts: Prompt text by prompt id.
        constitution: The principles; one is drawn for each answer and round, by content and weight.
        writers: The critic and the reviser.
        answer_all: Has them answer calls.
        rounds: How many rounds.

    Returns:
        The rounds of each answer, sorted by prompt, answer and round.
    """
    drafts = [
        _Draft(row["response_id"], row["prompt_id"], prompts[row["prompt_id"]], row["text"])
        for row in responses
    ]
    revisions: list[Revision] = []
    for number in range(1, rounds + 1):
        done = _revise_once(drafts, constitution, writers, answer_all, number=number)
        revisions += done
        drafts = [
            _Draft(revision.response_id, revision.prompt_id, revision.prompt, revision.revised)
            for revision in done
            if revision.revised is not None
        ]
    return sorted(revisions, key=lambda row: (row.prompt_id, row.response_id, row.round))


def select_revised(revisions: Iterable[Mapping[str, Any]], *, rounds: int) -> list[AnsweredPrompt]:
    """Selects the answers that passed every round; all of them are complete (otherwise the status is `cut`).

    Args:
        revisions: Rows of `revised_responses`.
        rounds: How many rounds there were.
    """
    return [
        AnsweredPrompt(prompt=row["prompt"], text=row["revised"], finish_reason="stop")
        for row in revisions
        if row["round"] == rounds and row["revised"] is not None
    ]


def _revise_once(
    drafts: Sequence[_Draft],
    constitution: Constitution,
    writers: Writers,
    answer_all: AnswerAll,
    *,
    number: int,
) -> list[Revision]:
    drawn = [draw_principle(f"{draft.response_id} {number}", constitution) for draft in drafts]
    texts = [
        {"principle": principle.text, "prompt": draft.prompt, "answer": draft.text}
        for draft, principle in zip(drafts, drawn, strict=True)
    ]
    asked = [Call.from_texts(writers.critic.fingerprint, text) for text in texts]
    found = answer_all(writers.critic, asked)
    critiques = [found[call.call_id] for call in asked]
    usable = [_find_fault(critique, writers.max_tokens) is None for critique in critiques]
    wanted = [
        Call.from_texts(writers.reviser.fingerprint, {**text, "critique": critique.text or ""})
        for text, critique, is_usable in zip(texts, critiques, usable, strict=True)
        if is_usable
    ]
    written = answer_all(writers.reviser, wanted)
    calls = iter(wanted)
    revisions = []
    for draft, principle, critique, is_usable in zip(drafts, drawn, critiques, usable, strict=True):
        revised = written[next(calls).call_id] if is_usable else None
        fault = _find_fault(revised or critique, writers.max_tokens)
        revisions.append(
            Revision(
                response_id=draft.response_id,
                prompt_id=draft.prompt_id,
                round=number,
                principle_id=principle.id,
                prompt=draft.prompt,
                answer=draft.text,
                critique=critique.text if is_usable else None,
                revised=(revised.text or "").strip() if revised is not None and fault is None else None,
                status=fault or "ok",
                answers=(critique,) if revised is None else (critique, revised),
            )
        )
    return revisions


def _find_fault(answer: Reply, max_tokens: int) -> RevisionStatus | None:
    if answer.status != "ok":
        return answer.status
    if not (answer.text or "").strip():
        return "empty"
    if answer.output_tokens is not None and answer.output_tokens >= max_tokens:
        return "cut"
    return None


def revisions_schema() -> "pa.Schema":
    """The columns of the `revised_responses` table."""
    import pyarrow as pa

    def text(*names: str) -> "list[pa.Field]":
        return [pa.field(name, pa.string(), nullable=False) for name in names]

    return pa.schema(
        [
            *text("response_id", "prompt_id"),
            pa.field("round", pa.int64(), nullable=False),
            *text("principle_id", "prompt", "answer"),
            pa.field("critique", pa.string()),
            pa.field("revised", pa.string()),
            *text("status"),
            pa.field("answers", pa.list_(answer_type()), nullable=False),
        ]
    )
