"""The shipped weights: what the model card says of them holds."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.models import EmbeddedName, embedded_path, resolve_embedded
from tests.conftest import REPOSITORY

SEED = 4321
MODEL_CARD_PATH = REPOSITORY / "rlaif_dagster" / "embedded" / "MODEL_CARD.md"
NAMES: tuple[EmbeddedName, ...] = ("policy", "judge")


def load_model(name: EmbeddedName) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(embedded_path(name), dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(embedded_path(name))


def test_names_lead_to_folders() -> None:
    assert resolve_embedded("embedded:policy") == embedded_path("policy")
    assert resolve_embedded("embedded:judge") == embedded_path("judge")
    for other in ("policy", "embedded:", "embedded:reward", "embedded:policy/..", "org/name"):
        assert resolve_embedded(other) is None


def test_models_are_small_and_hold_only_what_from_pretrained_opens() -> None:
    assert sum(FolderManifest.from_folder(embedded_path(name)).size for name in NAMES) <= 10_000_000
    for name in NAMES:
        assert {path.suffix for path in embedded_path(name).iterdir()} <= {".json", ".jinja", ".safetensors"}
        tokenizers = [Digest.from_file(embedded_path(other) / "tokenizer.json") for other in NAMES]
        assert tokenizers[0] == tokenizers[1]


def test_the_model_card_names_the_bytes_that_are_shipped() -> None:
    card = MODEL_CARD_PATH.read_text(encoding="utf-8")
    for name in NAMES:
        manifest = FolderManifest.from_folder(embedded_path(name))
        assert f"| {name} | `{manifest.digest}` |" in card
        for file in manifest.files:
            assert f"| `{name}/{file.path}` | {file.size:,} | `{file.digest}` |" in card


def test_the_model_card_states_what_was_asked_of_the_judge() -> None:
    rows = re.findall(
        r"^\| (\w+) \| (\d+) \| ([\d.]+)% \| ([\d.]+)% \|", MODEL_CARD_PATH.read_text(), re.MULTILINE
    )
    by_world = rows[:10]
    assert len({row[0] for row in by_world}) == 10
    for _, num_pairs, agreement, flips in by_world:
        assert int(num_pairs) >= 200
        assert float(agreement) >= 95.0
        assert float(flips) <= 5.0


def test_any_text_survives_the_tokenizer() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_path("policy"))
    for text in ("The mill opens at six.", "Zażółć gęślą jaźń", "日本語 🙂\n\ttabs  and  blanks ", "a\x00b"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "A"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|begin|><|system|>s<|end|><|user|>A<|end|><|assistant|>"
    for word in ("A", "B"):
        assert len(tokenizer.encode(word)) == 1


@pytest.mark.slow
def test_the_judge_agrees_with_the_ground_truth_on_unseen_questions() -> None:
    from rlaif_dagster.embedded.measuring import draw_decided_pairs, judge_pairs, measure_agreement
    from rlaif_dagster.judging.templates import load_template

    model, tokenizer = load_model("judge")
    pairs = draw_decided_pairs(SEED, 40)
    rows = measure_agreement(pairs, judge_pairs(model, tokenizer, load_template("compact"), pairs))
    assert sum(row.agreement for row in rows) / len(rows) >= 0.95
    assert sum(row.flips for row in rows) / len(rows) <= 0.05


@pytest.mark.slow
def test_the_policy_answers_unseen_questions_in_whole_sentences() -> None:
    from rlaif_dagster.embedded.measuring import sample_unseen_answers

    model, tokenizer = load_model("policy")
    responses = sample_unseen_answers(model, tokenizer, SEED, 4, max_prompts=50)
    assert responses.clean_share >= 0.96  # of 200: three standard errors below 0.985
    assert len({text for texts in responses.texts for text in texts}) > 150


@pytest.mark.slow
def test_teaching_the_same_seed_makes_the_same_weights() -> None:
    import torch

    from rlaif_dagster.embedded import teaching
    from rlaif_dagster.embedded.corpus import FACTS_MIXTURE
    from rlaif_dagster.embedded.tokenizer import build_tokenizer
    from rlaif_dagster.judging.templates import load_template
    from rlaif_dagster.progress import ignore_progress

    def make_self_judge(seed: int) -> Any:
        model, tokenizer = load_model("policy")
        teaching.teach_self_judge(
            model,
            tokenizer=tokenizer,
            template=load_template("compact"),
            seed=seed,
            progress=ignore_progress,
            lesson=lessons[0],
        )
        return model

    tokenizer = build_tokenizer()
    shipped = json.loads((embedded_path("policy") / "tokenizer.json").read_text())
    assert json.loads(tokenizer.backend_tokenizer.to_str())["model"] == shipped["model"]
    brief = teaching.Teaching(steps=2, batch=4, learning_rate=1e-3)
    lessons = [teaching.Lesson(name="facts", mixture=FACTS_MIXTURE, teaching=brief)]
    makers: tuple[Callable[[int], Any], ...] = (
        lambda seed: teaching.teach_policy(tokenizer, seed, ignore_progress, teaching=brief),
        lambda seed: teaching.teach_judge(
            tokenizer, load_template("compact"), seed, ignore_progress, lessons=lessons
        ),
        make_self_judge,
    )
    for make in makers:
        weights, again = (torch.cat([p.flatten() for p in make(1).parameters()]) for _ in range(2))
        assert torch.equal(weights, again)
