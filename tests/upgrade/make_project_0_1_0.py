"""Made `project_0_1_0.tar.xz`, with version 0.1.0 (commit 56ac083); kept to say what is in the archive.

    python make_project_0_1_0.py project_0_1_0.tar.xz

The project has recorded responses and verdicts and a policy of a few thousand parameters. Its history: a first run,
which releases a policy; the weights of both principles exchanged; a second run, which releases another policy; the
first release signed with the key whose public half is `signer.pem`. Dagster's event log is left out: it holds every
plot once more and would double the size.
"""

import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

WORDS = ("red", "green", "blue", "cat", "dog", "bird", "sun", "moon", "sea", "hill", "tree", "stone")
VERBS = ("say", "repeat", "sing", "write")
PRINCIPLES = {"short": "Use few words.", "rich": "Use many words."}
SPECIAL = ("<pad>", "<end>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PIPELINE = {
    "seed": 17,
    "prompts": {"file": "inputs/prompts.jsonl", "eval_fraction": 0.3},
    "base_policy": {"model": "models/tiny"},
    "sampling": {"provider": "recorded", "responses": "inputs/responses.jsonl"},
    "pairing": {"max_pairs_per_prompt": 4},
    "reward_model": {"learning_rate": 1.0e-2, "num_epochs": 12.0, "batch_size": 16, "max_length": 64},
    "policy": {
        "method": "dpo",
        "learning_rate": 3.0e-3,
        "num_epochs": 2.0,
        "batch_size": 16,
        "checkpoint_steps": 5,
        "checkpoint_prompts": 8,
        "max_new_tokens": 16,
        "max_length": 64,
    },
    "evaluation": {"num_samples": 1, "max_new_tokens": 16, "num_examples": 2},
    "release": {"require": []},
    "numerics": {"num_threads": 1, "device": "cpu"},
}


def answer(word: str, times: int) -> str:
    return " ".join([word] * times) + "."


def write_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    prompts = [f"{verb} {word}" for verb in VERBS for word in WORDS]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*prompts, *(answer(word, 3) for word in WORDS)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1], chat_template=CHAT_TEMPLATE
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=1,
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
    rng = random.Random(0)  # noqa: S311 - no secrets
    for _ in range(300):
        batch = []
        for prompt in rng.sample(prompts, 24):
            chat = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer(prompt.split()[-1], rng.randint(1, 6))},
            ]
            batch.append(
                torch.tensor(tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"])
            )
        input_ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        labels = input_ids.masked_fill(input_ids == 0, -100)
        loss = model(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_constitution(project: Path, weights: dict[str, float]) -> None:
    (project / "inputs" / "constitution.yaml").write_text(
        yaml.safe_dump(
            {"principles": [{"id": i, "text": t, "weight": weights[i]} for i, t in PRINCIPLES.items()]}
        )
    )


def write_inputs(project: Path) -> None:
    inputs = project / "inputs"
    prompts, responses, verdicts = [], [], []
    rng = random.Random(1)  # noqa: S311 - no secrets
    for verb in VERBS:
        for word in WORDS:
            prompt = f"{verb} {word}"
            prompts.append({"prompt": prompt, "category": verb})
            ids = []
            for times in (1, 3, 5):
                ids.append((f"{prompt}/{times}", times))
                responses.append(
                    {
                        "response_id": ids[-1][0],
                        "prompt": prompt,
                        "source": "recorded",
                        "text": answer(word, times),
                    }
                )
            for i in range(3):
                for j in range(i + 1, 3):
                    for principle in PRINCIPLES:
                        for order in ("ab", "ba"):
                            p = 0.9 - 0.1 * rng.random()  # for the shorter one, which is a
                            p = p if principle == "short" else 1 - p
                            p = p if order == "ab" else 1 - p
                            verdicts.append(
                                {
                                    "response_a": ids[i][0],
                                    "response_b": ids[j][0],
                                    "order": order,
                                    "principle_id": principle,
                                    "verdict": "first" if p > 0.5 else "second",
                                    "p_first": round(p, 3),
                                    "judge": "a-recorded-judge",
                                }
                            )
    for name, rows in (("prompts", prompts), ("responses", responses), ("verdicts", verdicts)):
        (inputs / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (inputs / "judge.yaml").write_text("provider: recorded\nverdicts: inputs/verdicts.jsonl\n")
    (inputs / "pipeline.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    write_constitution(project, {"short": 3.0, "rich": 1.0})


def main() -> None:
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        project = folder / "project"

        def run(*command: str) -> None:
            environment = os.environ | {"DAGSTER_HOME": str(folder / "dagster")}
            subprocess.run(command, cwd=folder, check=True, env=environment)

        def rlaif(*arguments: str) -> None:
            run(sys.executable, "-m", "rlaif_dagster.cli.main", *arguments, "--project", str(project))

        def commit(text: str) -> None:
            run("git", "-C", str(project), "add", "-A")
            run(
                "git",
                "-C",
                str(project),
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "commit",
                "-qm",
                text,
            )

        run(sys.executable, "-m", "rlaif_dagster.cli.main", "init", str(project))
        write_inputs(project)
        write_model(project / "models" / "tiny")
        rlaif("run")
        commit("First run")
        write_constitution(project, {"short": 1.0, "rich": 3.0})
        rlaif("run")
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "private.pem")
        run("openssl", "pkey", "-in", "private.pem", "-pubout", "-out", str(target.with_name("signer.pem")))
        rlaif("sign", "1", "--key", str(folder / "private.pem"))
        commit("Second run, first release signed")
        with tarfile.open(target, "w:xz", preset=9) as archive:
            archive.add(project, "project")


if __name__ == "__main__":
    main()
