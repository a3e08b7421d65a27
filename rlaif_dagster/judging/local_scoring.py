"""Reads verdicts from the probabilities of the judge's verdict words.

- A comparison gives P(first is better) = P(first) + P(tie) / 2 over the verdict words (the "logprob" verdict of RLAIF:
  Lee et al. 2023, arXiv:2309.00267, section 2.1).
- A rating gives its expectation over the numbers of the scale (G-Eval: Liu et al. 2023, arXiv:2303.16634, section 2).

The probability of a word of several tokens (such as 10 if digits are single tokens) is the product of its tokens'
probabilities, each given the tokens before it. A word that is the beginning of another, such as 1, gets what the other
leaves over. So the words are exclusive events, whatever the tokenizer.

Requests are padded on the right, which a causal model does not attend to. A request is always padded to the same
width, and the product with the vocabulary always has a multiple of 4 rows (fewer go through another kernel, whose sums
differ in the last bits). So on the CPU a verdict is the same to the last bit in every batch.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rlaif_dagster.errors import JudgeError
from rlaif_dagster.judging.calls import Reply
from rlaif_dagster.judging.local_requests import ChatRendering, EncodedCall, find_context, form_batches
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.judging.verdicts import HARD_PROBABILITY

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NUM_DECIMALS: Final = 6
"""Decimals to which scores are rounded."""
BATCH_TOKENS: Final = {"cpu": 2048}
"""How many tokens go through the model at once, by kind of device: on a CPU few enough for its caches."""
ACCELERATOR_TOKENS: Final = 8192

Word = tuple[int, ...]
"""The tokens of a word."""


def score_requests(
    model: "PreTrainedModel",
    requests: Sequence[EncodedCall],
    *,
    words: Sequence[Word],
    template: Template,
    batch_size: int,
) -> Iterator[list[Reply]]:
    """Yields the answers to requests batch by batch, longest first.

    Args:
        model: The judge's model.
        requests: The requests.
        words: The result of `find_words`.
        template: The judge's prompt.
        batch_size: The largest batch of requests.
    """
    values = value_words(template)
    max_tokens = BATCH_TOKENS.get(model.device.type, ACCELERATOR_TOKENS)
    for batch in form_batches(requests, batch_size=batch_size, max_tokens=max_tokens):
        weights = weigh_words(model, batch, words)
        yield [_state(request, row, values) for request, row in zip(batch, weights.tolist(), strict=True)]


def _state(request: EncodedCall, weights: Sequence[float], values: Sequence[float]) -> Reply:
    total = math.fsum(weights)
    if not total > 0:  # false for NaN too
        reason = "the judge's logits are not finite, or leave its words no probability"
        return Reply(call_id=request.call_id, status="failed", reason=reason, cut=request.cut)
    score = math.fsum(w * value for w, value in zip(weights, values, strict=True)) / total
    return Reply(
        call_id=request.call_id,
        status="ok",
        score=round(score, NUM_DECIMALS),
        input_tokens=len(request.ids),
        cut=request.cut,
    )


def value_words(template: Template) -> list[float]:
    """Lists the value of each of a template's words: P(first is better), or the rating."""
    if template.form == "comparison":
        return [HARD_PROBABILITY[preference] for preference in template.verdicts]
    return [float(word) for word in template.words]


def weigh_words(
    model: "PreTrainedModel", batch: Sequence[EncodedCall], words: Sequence[Word]
) -> "torch.Tensor":
    """Computes the probability that the judge says each word next.

    Args:
        model: The judge's model.
        batch: Requests of one width.
        words: Tokens of each word.

    Returns:
        Shape `(batch, word)`, float64, on the CPU.
    """
    import torch

    after: dict[Word, dict[int, torch.Tensor]] = {}  # P(token) after the beginning of a word, by token
    for path in find_paths(words):
        logits = read_logits(model, batch, path)
        norms = logits.logsumexp(dim=-1)
        for n in range(len(path) + 1):
            tokens = sorted({word[n] for word in words if word[:n] == path[:n] and len(word) > n})
            chances = (logits[:, n, tokens].cpu().double() - norms[:, n, None].cpu().double()).exp()
            after[path[:n]] = dict(zip(tokens, chances.unbind(dim=-1), strict=True))
    weights = []
    for word in words:
        weight = torch.stack([after[word[:n]][token] for n, token in enumerate(word)]).prod(dim=0)
        if word in after:
            weight = weight * (1 - torch.stack(list(after[word].values())).sum(dim=0)).clamp(min=0)
        weights.append(weight)
    return torch.stack(weights, dim=-1)


def find_paths(words: Sequence[Word]) -> list[Word]:
    """Finds the longest proper beginnings of words, which must follow a request so that all words can be weighed."""
    beginnings = {word[:n] for word in words for n in range(len(word))}
    return sorted(p for p in beginnings if not any(len(q) > len(p) and q[: len(p)] == p for q in beginnings))


def read_logits(model: "PreTrainedModel", batch: Sequence[EncodedCall], path: Word) -> "torch.Tensor":
    """Computes the logits of the next token after each request, and after the request with each beginning of a path.

    Returns:
        Shape `(batch, len(path) + 1, vocab)`, float32.
    """
    import torch

    num_kept = -(-(len(path) + 1) // 4) * 4
    lengths = torch.tensor([len(request.ids) for request in batch])
    width = min(batch[0].width + len(path), find_context(model))
    padded = torch.zeros((len(batch), width), dtype=torch.long)
    for row, request in enumerate(batch):
        padded[row, : lengths[row] + len(path)] = torch.tensor((*request.ids, *path))
    kept = lengths[:, None] - 1 + torch.arange(num_kept).clamp(max=len(path))
    with torch.inference_mode():
        # No attention mask: padding is on the right, where a causal model does not look.
        logits: torch.Tensor = model(
            input_ids=padded.to(model.device), logits_to_keep=kept.to(model.device), use_cache=False
        ).logits
    return logits[:, : len(path) + 1].float()


def find_words(chat: ChatRendering, template: Template, *, judge: str) -> list[Word]:
    """Finds the tokens of each word that the judge may say, right after a request.

    Raises:
        JudgeError: If the judge cannot say them there.
    """
    remedy = "choose other `verdicts` in the template, like A and B, or set `verdict` to text"
    if chat.sample.rstrip().endswith("<think>"):
        raise JudgeError(
            f"judge {judge}: its chat format makes it think first, so its next token is not a verdict.\n"
            "  remedy: set `verdict` to text, with enough `max_new_tokens` for its reasoning"
        )
    found: dict[Word, str] = {}
    for word in template.words:
        tokens = chat.encode_after_sample(word)
        if not tokens:
            raise JudgeError(
                f"judge {judge}: the word {word!r} has no tokens of its own right after a request.\n  remedy: {remedy}"
            )
        if tokens in found:
            raise JudgeError(
                f"judge {judge}: the words {found[tokens]!r} and {word!r} are the same tokens.\n  remedy: {remedy}"
            )
        found[tokens] = word
    return list(found)
