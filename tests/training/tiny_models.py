"""A policy so small that tests can train it: it repeats a word one to six times, and then stops."""

import random
from pathlib import Path

from rlaif_dagster.generation.dialogues import AnsweredPrompt

WORDS = ("red", "green", "blue", "cat", "dog", "bird", "sun", "moon", "sea", "hill", "tree", "stone")
VERBS = ("say", "repeat", "sing", "write")
PROMPTS = tuple(f"{verb} {word}" for verb in VERBS for word in WORDS)
SPECIAL = ("<pad>", "<end>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def answer(word: str, times: int) -> str:
    return " ".join([word] * times) + "."


def whole(prompt: str, text: str) -> AnsweredPrompt:
    """An answer that the policy ended itself."""
    return AnsweredPrompt(prompt=prompt, text=text, finish_reason="stop")


def cut(prompt: str, text: str) -> AnsweredPrompt:
    """An answer that was cut at `max_new_tokens`."""
    return AnsweredPrompt(prompt=prompt, text=text, finish_reason="length")


def write_tiny_policy(folder: Path, *, num_steps: int = 120) -> None:
    """Trains tokenizer and policy on the little world, and writes them as a model folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*PROMPTS, *(answer(word, 3) for word in WORDS)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1], chat_template=CHAT_TEMPLATE
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rng = random.Random(0)  # noqa: S311 (no secret is made)
    for _ in range(num_steps):
        batch = []
        for prompt in rng.sample(PROMPTS, 24):
            chat = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer(prompt.split()[-1], rng.randint(1, 6))},
            ]
            text = str(tokenizer.apply_chat_template(chat, tokenize=False))
            batch.append(torch.tensor(tokenizer(text)["input_ids"]))
        input_ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        labels = input_ids.masked_fill(input_ids == 0, -100)
        loss = model(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
