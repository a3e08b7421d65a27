"""Trains the embedded policy and judge. Import this module lazily: it imports torch and transformers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from rlaif_dagster.embedded.corpus import (
    BROAD_MIXTURE,
    FACTS_MIXTURE,
    MANNERS_MIXTURE,
    JudgedPair,
    PairMixture,
    TaughtDialogue,
    open_random,
    sample_dialogue,
    sample_pair,
)
from rlaif_dagster.embedded.tokenizer import MAX_TOKENS
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.progress import Progress
from rlaif_dagster.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED: Final = -100
"""The label of a token that does not count in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a Llama-shaped model with tied embeddings."""

    num_layers: int
    width: int
    mlp_width: int
    num_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How long and how fast a model is trained.

    Attributes:
        steps: Optimiser steps.
        batch: Dialogues, or judged pairs (each in both orders), per step.
        learning_rate: The peak of a cosine schedule with a linear warm-up.
    """

    steps: int
    batch: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One phase of a judge's training.

    Attributes:
        name: Its name, which seeds its pairs.
        mixture: How the pairs are drawn.
        teaching: How long and how fast.
    """

    name: str
    mixture: PairMixture
    teaching: Teaching


POLICY_SHAPE: Final = Shape(num_layers=4, width=128, mlp_width=320, num_heads=4)
JUDGE_SHAPE: Final = Shape(num_layers=4, width=128, mlp_width=320, num_heads=4)
POLICY_TEACHING: Final = Teaching(steps=1000, batch=64, learning_rate=4e-3)
JUDGE_LESSONS: Final = (
    Lesson(name="pairs", mixture=BROAD_MIXTURE, teaching=Teaching(steps=1100, batch=32, learning_rate=4e-3)),
    Lesson(name="facts", mixture=FACTS_MIXTURE, teaching=Teaching(steps=300, batch=32, learning_rate=2e-3)),
)
SELF_JUDGE_LESSON: Final = Lesson(
    name="manners", mixture=MANNERS_MIXTURE, teaching=Teaching(steps=60, batch=16, learning_rate=3e-3)
)
"""Just enough that the policy's opinion of its own answers is right more often than not."""
LM_WEIGHT: Final = 0.2
"""The weight of the judge's language-model loss relative to its verdict loss."""

WARMUP_SHARE: Final = 0.08
SHARPNESS: Final = 1.2
"""The factor of the policy's logits after training, through the gain of its last norm: rare errors become rarer, and
habits stay mixed (one of 35 % becomes one of 32 %)."""
MUON_RATIO: Final = 5.0
"""The peak learning rate of Muon divided by that of AdamW."""
WEIGHT_DECAY: Final = 0.05
MAX_GRADIENT_NORM: Final = 1.0


def build_model(tokenizer: "PreTrainedTokenizerBase", shape: Shape, seed: int) -> LlamaForCausalLM:
    """Builds an untrained model.

    Args:
        tokenizer: Defines the vocabulary and the special tokens.
        shape: The size.
        seed: The seed of the initial weights.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def teach_policy(
    tokenizer: "PreTrainedTokenizerBase",
    seed: int,
    progress: Progress,
    *,
    shape: Shape = POLICY_SHAPE,
    teaching: Teaching = POLICY_TEACHING,
) -> LlamaForCausalLM:
    """Trains the policy on dialogues, by cross-entropy over the answers' tokens and their end.

    At the end the logits are sharpened (see `SHARPNESS`), so that plain sampling at temperature 1 is clean.
    """
    model = build_model(tokenizer, shape, derive_seed(seed, "embedded policy", "weights"))
    compute_loss = _make_dialogue_loss(
        model, tokenizer, open_random(seed, "embedded policy", "dialogues"), batch=teaching.batch
    )
    _optimise(list(model.named_parameters()), compute_loss, teaching, progress, "policy steps")
    _scale_logits(model, SHARPNESS)
    model.eval()
    return model


def _make_dialogue_loss(
    model: LlamaForCausalLM, tokenizer: "PreTrainedTokenizerBase", rng: Random, *, batch: int
) -> Callable[[], torch.Tensor]:
    def compute_loss() -> torch.Tensor:
        tokens, labels = encode_taught_dialogues(tokenizer, [sample_dialogue(rng) for _ in range(batch)])
        logits = model(input_ids=tokens).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)

    return compute_loss


@torch.no_grad()
def _scale_logits(model: LlamaForCausalLM, factor: float) -> None:
    model.model.norm.weight.mul_(factor)


def encode_taught_dialogues(
    tokenizer: "PreTrainedTokenizerBase", dialogues: Sequence[TaughtDialogue]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encodes dialogues, padded on the right.

    Returns:
        Tokens and labels `(batch, seq)`; a label is the token itself in the answer and its end, else `IGNORED`.
    """
    rows, masks = [], []
    for dialogue in dialogues:
        prompt = render_chat(tokenizer, [{"role": "user", "content": dialogue.prompt}])
        answer = [*tokenizer.encode(dialogue.answer, add_special_tokens=False), tokenizer.eos_token_id]
        rows.append(prompt + answer)
        masks.append(len(prompt))
    tokens = pad_right(rows, tokenizer.pad_token_id)
    labels = pad_right(
        [[IGNORED] * start + row[start:] for row, start in zip(rows, masks, strict=True)], IGNORED
    )
    return tokens, labels


def render_chat(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]]) -> list[int]:
    """Encodes messages up to the assistant's turn."""
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


def pad_right(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    """Pads rows on the right to one tensor `(batch, seq)`."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def teach_judge(
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    seed: int,
    progress: Progress,
    *,
    shape: Shape = JUDGE_SHAPE,
    lessons: Sequence[Lesson] = JUDGE_LESSONS,
) -> LlamaForCausalLM:
    """Trains the judge, lesson by lesson."""
    model = build_model(tokenizer, shape, derive_seed(seed, "embedded judge", "weights"))
    for lesson in lessons:
        teach_lesson(model, lesson, tokenizer=tokenizer, template=template, seed=seed, progress=progress)
    model.eval()
    return model


def teach_lesson(
    model: LlamaForCausalLM,
    lesson: Lesson,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    seed: int,
    progress: Progress,
) -> None:
    """Trains a judge on pairs in both orders, by three losses.

    The verdict loss is the cross-entropy of the two verdict tokens, at the assistant's turn, against the ground truth.
    The score loss trains a linear probe, discarded afterwards, to read the ground truth's score of each answer where
    the answer ends, one layer before the last. It teaches the model to value one answer before comparing two; without
    it the verdict is learned many times slower. The language-model loss teaches the words and, because true answers are
    the most common, the facts.
    """
    compute_loss, probe = _make_verdict_loss(
        model,
        lesson,
        tokenizer=tokenizer,
        template=template,
        rng=open_random(seed, "embedded judge", lesson.name),
    )
    learned = [*model.named_parameters(), *probe]
    _optimise(learned, compute_loss, lesson.teaching, progress, f"judge steps, {lesson.name}")


def _make_verdict_loss(
    model: LlamaForCausalLM,
    lesson: Lesson,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    rng: Random,
) -> tuple[Callable[[], torch.Tensor], list[tuple[str, torch.nn.Parameter]]]:
    """Makes the loss of `teach_lesson`, with its probe's named parameters."""
    verdicts = verdict_tokens(tokenizer, template)
    width = model.config.hidden_size
    probe = torch.nn.Linear(width, 1)
    line_end = tokenizer.encode("\n", add_special_tokens=False)[0]

    def compute_loss() -> torch.Tensor:
        pairs = [sample_pair(rng, lesson.mixture) for _ in range(lesson.teaching.batch)]
        prompts = [encode_pair(tokenizer, template, p, swapped=s) for p in pairs for s in (False, True)]
        p_first = torch.tensor([t for p in pairs for t in (p.preference, 1.0 - p.preference)])
        scores = torch.tensor([t for p in pairs for t in (p.scores, p.scores[::-1])])
        tokens = pad_right(prompts, tokenizer.pad_token_id)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts])
        output = model.model(input_ids=tokens, output_hidden_states=True)
        hidden = output.last_hidden_state
        valued = functional.rms_norm(output.hidden_states[-2], (width,))
        answer_ends = (tokens == line_end).nonzero()[:, 1].view(len(prompts), 4)[:, 2:]
        read_scores = probe(valued.gather(1, answer_ends[:, :, None].expand(-1, -1, width)))[..., 0]
        score_loss = functional.mse_loss(read_scores, scores)
        at_verdict = model.lm_head(hidden[torch.arange(len(prompts)), last])
        log_p = functional.log_softmax(at_verdict, dim=-1)[:, verdicts]
        verdict_loss = -(p_first * log_p[:, 0] + (1.0 - p_first) * log_p[:, 1]).mean()
        logits = model.lm_head(hidden[::2, :-1])
        lm_loss = functional.cross_entropy(
            logits.flatten(0, 1), tokens[::2, 1:].flatten(), ignore_index=tokenizer.pad_token_id
        )
        return verdict_loss + score_loss + LM_WEIGHT * lm_loss

    return compute_loss, [(f"probe.{name}", value) for name, value in probe.named_parameters()]


def teach_self_judge(
    policy: LlamaForCausalLM,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    seed: int,
    progress: Progress,
    lesson: Lesson = SELF_JUDGE_LESSON,
) -> None:
    """Teaches the policy to judge a little and to keep answering: each step uses as many dialogues as pairs.

    The model then judges its own answers: its verdicts come from no stronger model.
    """
    torch.manual_seed(derive_seed(seed, "embedded self-judge", "probe"))
    judge_loss, probe = _make_verdict_loss(
        policy,
        lesson,
        tokenizer=tokenizer,
        template=template,
        rng=open_random(seed, "embedded self-judge", lesson.name),
    )
    dialogue_loss = _make_dialogue_loss(
        policy,
        tokenizer,
        open_random(seed, "embedded self-judge", "dialogues"),
        batch=lesson.teaching.batch,
    )
    policy.train()
    _scale_logits(policy, 1.0 / SHARPNESS)
    _optimise(
        [*policy.named_parameters(), *probe],
        lambda: judge_loss() + dialogue_loss(),
        lesson.teaching,
        progress,
        "self-judge steps",
    )
    _scale_logits(policy, SHARPNESS)
    policy.eval()


def verdict_tokens(tokenizer: "PreTrainedTokenizerBase", template: Template) -> list[int]:
    """Returns the first tokens of the two verdicts."""
    words = (template.verdicts["first"], template.verdicts["second"])
    return [tokenizer.encode(word, add_special_tokens=False)[0] for word in words]


def encode_pair(
    tokenizer: "PreTrainedTokenizerBase", template: Template, pair: JudgedPair, *, swapped: bool
) -> list[int]:
    """Encodes what the judge reads about a pair, in one order."""
    first, second = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    texts = {"principle": pair.principle, "prompt": pair.prompt, "first": first, "second": second}
    messages = template.render(texts)
    return render_chat(tokenizer, messages)


def _optimise(
    parameters: Sequence[tuple[str, torch.nn.Parameter]],
    compute_loss: Callable[[], torch.Tensor],
    teaching: Teaching,
    progress: Progress,
    what: str,
) -> None:
    """Minimises a loss with warm-up and cosine decay to zero.

    Matrices inside the layers are trained by Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon),
    which needs about half the steps of AdamW here; embeddings, gains and the probe by AdamW.
    """
    matrices = [value for name, value in parameters if ".layers." in name and name.endswith("proj.weight")]
    others = [value for _, value in parameters if not any(value is matrix for matrix in matrices)]
    optimisers: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.Muon(matrices, lr=MUON_RATIO * teaching.learning_rate, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=teaching.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )
    warmup = max(1, round(WARMUP_SHARE * teaching.steps))
    peaks = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    for step in range(teaching.steps):
        share = min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / teaching.steps))
        loss = compute_loss()
        for _, value in parameters:
            value.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_([value for _, value in parameters], MAX_GRADIENT_NORM)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * share
            optimiser.step()
        progress(f"{what} (loss {loss.item():.3f})", step + 1, teaching.steps)
