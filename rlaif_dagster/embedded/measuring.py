"""Measures the embedded models on questions that they never saw. Import lazily: it imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from rlaif_dagster.embedded.corpus import (
    TIE,
    JudgedPair,
    judge_by_ground_truth,
    list_unseen_questions,
    open_random,
    sample_pair,
)
from rlaif_dagster.embedded.teaching import encode_pair, pad_right, render_chat, verdict_tokens
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.world import lexicon
from rlaif_dagster.world.ground_truth import PRINCIPLE_KINDS, WORDINGS, PrincipleKind
from rlaif_dagster.world.questions import CATEGORIES, compose_prompt, is_clean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_NEW_TOKENS: Final = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a judge agrees with the ground truth by one kind of principle, on pairs that it decides.

    Attributes:
        kind: The kind of principle.
        num_pairs: Pairs that the ground truth decides.
        agreement: Share of them in which the judge, averaged over both orders, prefers the better answer.
        flips: Share of them in which the judge's preference changes with the order.
        mean_p_ground_truth: Mean probability that the judge gives to the better answer, averaged over both orders.
    """

    kind: PrincipleKind
    num_pairs: int
    agreement: float
    flips: float
    mean_p_ground_truth: float


@torch.inference_mode()
def judge_pairs(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    pairs: Sequence[JudgedPair],
    batch: int = 64,
) -> torch.Tensor:
    """Judges pairs in both orders.

    Returns:
        P(the first shown is better), `(pairs, 2)`: in the pair's order, and swapped.
    """
    verdicts = verdict_tokens(tokenizer, template)
    prompts = [encode_pair(tokenizer, template, pair, swapped=s) for pair in pairs for s in (False, True)]
    p_first = torch.empty(len(prompts))
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(prompts), batch):
        chosen = by_length[start : start + batch]
        rows = [prompts[index] for index in chosen]
        hidden = model.model(input_ids=pad_right(rows, tokenizer.pad_token_id)).last_hidden_state
        last = torch.tensor([len(row) - 1 for row in rows])
        logits = model.lm_head(hidden[torch.arange(len(rows)), last])[:, verdicts]
        p_first[chosen] = logits.softmax(dim=-1)[:, 0]
    return p_first.view(-1, 2)


def draw_decided_pairs(seed: int, num_pairs: int) -> list[JudgedPair]:
    """Draws pairs on unseen questions that the ground truth decides: `num_pairs` for every kind of principle."""
    pairs: list[JudgedPair] = []
    for kind in PRINCIPLE_KINDS:
        rng = open_random(seed, "embedded judge", "measure", kind)
        num_wanted = len(pairs) + num_pairs
        while len(pairs) < num_wanted:
            pair = sample_pair(rng, kind=kind, unseen=True)
            if pair.preference != TIE:
                pairs.append(pair)
    return pairs


def pair_responses(prompts: Sequence[str], responses: Sequence[Sequence[str]], seed: int) -> list[JudgedPair]:
    """Pairs a policy's own answers to each prompt by each kind of principle; keeps pairs that ground truth decides."""
    rng = open_random(seed, "embedded judge", "measure", "responses")
    pairs: list[JudgedPair] = []
    for prompt, texts in zip(prompts, responses, strict=True):
        for first, second in zip(texts[::2], texts[1::2], strict=True):
            for kind in PRINCIPLE_KINDS:
                principle = rng.choice(WORDINGS[kind])
                pair = judge_by_ground_truth(kind, principle, prompt, first, second)
                if pair is not None and pair.preference != TIE:
                    pairs.append(pair)
    return pairs


def measure_agreement(pairs: Sequence[JudgedPair], p_first: torch.Tensor) -> list[Agreement]:
    """Compares a judge's verdicts with the ground truth, one row for every kind of principle in the pairs.

    Args:
        pairs: Pairs that the ground truth decides.
        p_first: The result of `judge_pairs` for them, `(pairs, 2)`.
    """
    rows = []
    for kind in PRINCIPLE_KINDS:
        chosen = [index for index, pair in enumerate(pairs) if pair.kind == kind]
        if not chosen:
            continue
        is_first_better = torch.tensor([pairs[index].preference > TIE for index in chosen])
        p_as_is, p_swapped = p_first[chosen].unbind(dim=1)
        p_a = (p_as_is + 1.0 - p_swapped) / 2.0
        rows.append(
            Agreement(
                kind=kind,
                num_pairs=len(chosen),
                agreement=((p_a > TIE) == is_first_better).float().mean().item(),
                flips=((p_as_is > TIE) == (p_swapped > TIE)).float().mean().item(),
                mean_p_ground_truth=torch.where(is_first_better, p_a, 1.0 - p_a).mean().item(),
            )
        )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledResponses:
    """A policy's answers to unseen prompts at temperature 1.

    Attributes:
        prompts: The prompts.
        texts: The answers to each.
        num_tokens: Mean tokens per answer, including its end.
    """

    prompts: list[str]
    texts: list[list[str]]
    num_tokens: float

    @property
    def clean_share(self) -> float:
        """The share of answers that the grammar accepts."""
        flat = [text for texts in self.texts for text in texts]
        return sum(map(is_clean, flat)) / len(flat)


@torch.inference_mode()
def sample_unseen_answers(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    seed: int,
    num_per_prompt: int,
    max_prompts: int | None = None,
) -> SampledResponses:
    """Samples answers to the unseen questions, each asked once, at temperature 1 without top-k or top-p."""
    rng = open_random(seed, "embedded policy", "measure")
    questions = [question for category in CATEGORIES for question in list_unseen_questions(category)]
    rng.shuffle(questions)
    prompts = [compose_prompt(rng.choice(lexicon.OPENINGS), q) for q in questions[:max_prompts]]
    rows = [render_chat(tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    texts: list[list[str]] = [[] for _ in prompts]
    num_tokens = 0
    torch.manual_seed(derive_seed(seed, "embedded policy", "measure", "sampling"))
    for length in sorted({len(row) for row in rows}):
        chosen = [index for index, row in enumerate(rows) if len(row) == length]
        tokens = torch.tensor([rows[index] for index in chosen]).repeat_interleave(num_per_prompt, dim=0)
        output = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=MAX_NEW_TOKENS,
        )[:, length:]
        num_tokens += int((output != tokenizer.pad_token_id).sum())
        decoded = tokenizer.batch_decode(output, skip_special_tokens=True)
        for position, index in enumerate(chosen):
            texts[index] = decoded[position * num_per_prompt : (position + 1) * num_per_prompt]
    return SampledResponses(
        prompts=prompts, texts=texts, num_tokens=num_tokens / (len(prompts) * num_per_prompt)
    )
