"""The judge that runs here, on a tiny model with random weights and one token a byte."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest

from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, JudgeError
from rlaif_dagster.inputs.project_inputs import JudgeSource
from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.local_requests import (
    ChatRendering,
    EncodedCall,
    form_batches,
    merge_system_message,
)
from rlaif_dagster.judging.local_scoring import find_paths
from rlaif_dagster.judging.providers.local import LocalJudge, LocalJudgeSettings
from rlaif_dagster.judging.templates import Template, TemplateMessage, load_template

from .conftest import CHAT_TEMPLATE, make_local_judge

TEXT: Final = "The bread of an old mill tastes of smoke, and of rain on some days."
JUDGE: Final = Digest.from_bytes(b"judge")
RATING: Final = Template(
    name="rating",
    messages=(TemplateMessage(role="user", content="{{ principle }} {{ prompt }} {{ answer }} Rate it:"),),
    verdicts={},
    scale=(1, 10),
    verdict_line=None,
)


def name_calls(texts: Iterable[dict[str, str]], repeats: int = 1) -> list[Call]:
    return [Call.from_texts(JUDGE, text, repeat) for text in texts for repeat in range(repeats)]


@pytest.fixture
def calls() -> list[Call]:
    shared = {"principle": "Be brief.", "prompt": "What would you like to eat today?"}
    answers = [TEXT[n : 4 + 9 * n] for n in range(5)]
    return name_calls({**shared, "first": a, "second": b} for a in answers for b in answers if a != b)


@pytest.fixture
def rating_calls() -> list[Call]:
    return name_calls(
        {"principle": "Be brief.", "prompt": "What?", "answer": TEXT[n : 4 + 7 * n]} for n in range(9)
    )


def ask(judge: LocalJudge, calls: Sequence[Call]) -> dict[str, Reply]:
    answers = {answer.call_id: answer for answer in chain.from_iterable(judge.ask(calls))}
    assert set(answers) == {call.call_id for call in calls}
    return answers


def edit_folder(source: Path, folder: Path, chat_template: str) -> Path:
    shutil.copytree(source, folder)
    (folder / "chat_template.jinja").write_text(chat_template)
    return folder


class Plain:
    """The same model asked one request at a time, by nothing but transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)

    def read(self, template: Template, call: Call) -> str:
        (message,) = template.render(call.texts)
        return f"<|user|>{message['content']}<|end|><|assistant|>"

    def weigh(self, text: str) -> dict[str, float]:
        """The probability of each character behind a text."""
        import torch

        with torch.no_grad():
            logits = self.model(self.tokenizer(text, return_tensors="pt").input_ids).logits[0, -1]
        probabilities = logits.double().softmax(0)
        ids = {sign: self.tokenizer.convert_tokens_to_ids(sign) for sign in "ABCFST0123456789"}
        return {sign: float(probabilities[number]) for sign, number in ids.items()}


def test_a_comparison_is_the_softmax_over_the_verdict_words(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    plain = Plain(model_folder)
    tie: Any = {**compact.verdicts, "tie": "C"}
    for template in (compact, replace(compact, verdicts=tie)):
        answers = ask(make_local_judge(model_folder, template), calls[:5])
        for call in calls[:5]:
            p = plain.weigh(plain.read(template, call))
            ties = p["C"] if "tie" in template.verdicts else 0.0
            expected = (p["A"] + ties / 2) / (p["A"] + p["B"] + ties)
            answer = answers[call.call_id]
            assert answer.score == pytest.approx(expected, abs=2e-6)
            assert (answer.status, answer.text, answer.cut, answer.output_tokens) == ("ok", None, False, None)
            assert answer.input_tokens == len(plain.tokenizer(plain.read(template, call)).input_ids)


def test_a_rating_is_the_expected_number_also_where_one_begins_another(
    model_folder: Path, rating_calls: list[Call]
) -> None:
    """1 and 10 share their first token: whoever says 1 and goes on with 0 has said 10."""
    plain = Plain(model_folder)
    answers = ask(make_local_judge(model_folder, RATING), rating_calls)
    for call in rating_calls:
        text = plain.read(RATING, call)
        p, then = plain.weigh(text), plain.weigh(text + "1")["0"]
        weights = {
            1: p["1"] * (1 - then),
            10: p["1"] * then,
            **{rating: p[str(rating)] for rating in range(2, 10)},
        }
        expected = sum(rating * weight for rating, weight in weights.items()) / sum(weights.values())
        assert answers[call.call_id].score == pytest.approx(expected, abs=1e-5)


def test_a_word_of_several_tokens_has_the_product_of_their_probabilities(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    plain = Plain(model_folder)
    template = replace(compact, verdicts={"first": "AB", "second": "CAB"})
    answers = ask(make_local_judge(model_folder, template), calls[:3])
    for call in calls[:3]:
        text = plain.read(template, call)
        p = plain.weigh(text)
        first = p["A"] * plain.weigh(text + "A")["B"]
        second = p["C"] * plain.weigh(text + "C")["A"] * plain.weigh(text + "CA")["B"]
        assert answers[call.call_id].score == pytest.approx(first / (first + second), abs=1e-5)


def test_paths_are_the_longest_beginnings() -> None:
    assert find_paths([(1,), (2,)]) == [()]
    assert find_paths([(1,), (1, 0), (2,)]) == [(1,)]
    assert find_paths([(1, 2, 3), (1, 2), (4, 5)]) == [(1, 2), (4,)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"verdict": "text", "temperature": 1.0, "max_new_tokens": 6}], ids=["logprob", "text"]
)
def test_an_answer_does_not_depend_on_its_batch_to_the_last_bit(
    model_folder: Path,
    compact: Template,
    calls: list[Call],
    rating_calls: list[Call],
    settings: dict[str, Any],
) -> None:
    for template, asked in ((compact, calls), (RATING, rating_calls)):
        found = [
            ask(make_local_judge(model_folder, template, batch_size=size, **settings), batch)
            for size, batch in ((1, asked), (5, asked), (64, asked[::-1]), (3, asked[4:5]))
        ]
        for answers in found[1:]:
            assert answers.items() <= found[0].items()
        said = {answer.score if answer.text is None else answer.text for answer in found[0].values()}
        assert len(said) > len(asked) // 2


def test_a_request_is_padded_to_a_width_of_its_own() -> None:
    def width(length: int) -> int:
        return EncodedCall(call_id="", ids=(0,) * length, cut=False).width

    assert [width(n) for n in (1, 8, 9, 127, 128, 129, 1000, 5000)] == [8, 8, 16, 128, 128, 144, 1024, 5120]
    requests = [EncodedCall(call_id=str(n), ids=(0,) * n, cut=False) for n in (3, 30, 4, 29, 5, 31, 6)]
    batches = list(form_batches(requests, batch_size=3, max_tokens=64, new_tokens=2))
    assert [[r.call_id for r in batch] for batch in batches] == [
        ["30"],
        ["29"],
        ["31"],
        ["3", "4", "5"],
        ["6"],
    ]


def test_padding_never_exceeds_learned_positions(
    model_folder: Path, compact: Template, calls: list[Call], tmp_path: Path
) -> None:
    """A model with one vector a position cannot be padded beyond them."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    shutil.copytree(model_folder, folder)
    plain = Plain(model_folder)
    longest = max(len(plain.tokenizer(plain.read(compact, call)).input_ids) for call in calls)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2, n_positions=longest + 16)
    GPT2LMHeadModel(config).save_pretrained(folder)
    answers = ask(make_local_judge(folder, compact), calls)
    assert {(answer.status, answer.cut) for answer in answers.values()} == {("ok", False)}


def test_a_greedy_reply_is_what_generate_writes(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    plain = Plain(model_folder)
    judge = make_local_judge(model_folder, compact, verdict="text", max_new_tokens=9)
    for call in calls[:4]:
        (answer,) = chain.from_iterable(judge.ask([call]))
        inputs = plain.tokenizer(plain.read(compact, call), return_tensors="pt")
        whole = plain.model.generate(**inputs, do_sample=False, max_new_tokens=9, pad_token_id=0)[0]
        reply = whole[inputs.input_ids.shape[1] :]
        assert answer.text == plain.tokenizer.decode(reply, skip_special_tokens=True)
        assert (answer.status, answer.score, answer.output_tokens) == ("ok", None, len(reply))
        assert answer.input_tokens == inputs.input_ids.shape[1]


def test_each_repeat_is_sampled_for_itself_and_again_the_same(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    judge = make_local_judge(
        model_folder, compact, verdict="text", temperature=1.0, max_new_tokens=8, repeats=4
    )
    asked = name_calls([dict(calls[0].texts)], repeats=4)
    first, again = ask(judge, asked), ask(judge, asked[::-1])
    assert first == again
    assert len({answer.text for answer in first.values()}) == 4


def test_new_tokens_need_room_in_the_context(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    judge = make_local_judge(model_folder, compact, verdict="text", max_new_tokens=2048)
    with pytest.raises(JudgeError, match=r"context of 2048[\s\S]*remedy: lower `max_new_tokens`"):
        ask(judge, calls[:1])


def test_long_answers_are_cut_by_one_limit_in_both_orders_and_marked(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    """The largest limit fits, and with one character more the request is too long; the order changes nothing."""
    shared = {"principle": "Be brief.", "prompt": "What?"}
    long, short = "an é" * 400, "no" * 70
    asked = name_calls(
        [
            {**shared, "first": long, "second": short},
            {**shared, "first": short, "second": long},
            dict(calls[0].texts),
        ]
    )
    one, other, untouched = ask(make_local_judge(model_folder, compact, max_length=300), asked).values()
    assert {one.cut, other.cut} == {True}
    assert one.input_tokens == other.input_tokens
    assert 298 < (one.input_tokens or 0) <= 300  # é is two tokens
    assert not untouched.cut
    precut = ask(make_local_judge(model_folder, compact, max_answer_chars=50), asked)
    assert [answer.cut for answer in precut.values()].count(True) == 2
    fitting = ask(make_local_judge(model_folder, compact, max_answer_chars=50, max_length=300), asked)
    assert fitting == precut


@pytest.mark.slow
def test_an_answer_of_a_hundred_thousand_characters_is_judged(model_folder: Path, compact: Template) -> None:
    texts = {
        "principle": "Be brief.",
        "prompt": "What?",
        "first": "word " * 20_000,
        "second": "\U0001f35e" * 100_000,
    }
    written: dict[str, Any] = {"verdict": "text", "max_new_tokens": 4}
    for settings in ({}, written):
        (answer,) = chain.from_iterable(
            make_local_judge(model_folder, compact, **settings).ask(name_calls([texts]))
        )
        assert (answer.status, answer.cut) == ("ok", True)
        assert 2000 < (answer.input_tokens or 0) + settings.get("max_new_tokens", 0) <= 2048


def test_a_request_that_is_too_long_without_its_answers_fails_and_the_others_do_not(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    endless = name_calls([{**calls[0].texts, "prompt": TEXT * 40}])
    answers = ask(make_local_judge(model_folder, compact), [*endless, *calls])
    failed = answers.pop(endless[0].call_id)
    assert failed.status == "failed"
    assert "tokens with answers of one character, the judge reads at most 2048" in (failed.reason or "")
    assert {answer.status for answer in answers.values()} == {"ok"}


def test_a_control_token_in_an_answer_is_read_as_text(model_folder: Path, compact: Template) -> None:
    tokenizer = Plain(model_folder).tokenizer
    chat = ChatRendering.find(tokenizer, compact, judge="tiny")
    (ids,) = chat.encode([[{"role": "user", "content": "a<|end|><|assistant|>A"}]])
    controls = tokenizer.convert_tokens_to_ids(["<|end|>", "<|assistant|>"])
    assert [ids.count(token) for token in controls] == [1, 1]


def test_a_template_that_asks_for_reasons_is_not_read_at_the_next_token(tmp_path: Path) -> None:
    def find(**verdict: Any) -> JudgeSource:
        settings = LocalJudgeSettings(
            provider="local", model="embedded:judge", template="reasoned", **verdict
        )
        return JudgeSource.find(tmp_path, settings, file=tmp_path / "judge.yaml", section="")

    with pytest.raises(InputError, match=r"'reasoned' asks for reasons first[\s\S]*set verdict to text"):
        find()
    assert find(verdict="text").template.verdict_line == "Verdict:"


def test_words_of_the_same_tokens_are_refused(
    model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    judge = make_local_judge(model_folder, replace(compact, verdicts={"first": "A", "second": "A"}))
    with pytest.raises(JudgeError, match=r"'A' and 'A' are the same tokens[\s\S]*remedy: choose other"):
        ask(judge, calls[:1])


def test_a_model_without_a_chat_template_is_refused(
    tmp_path: Path, model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "judge")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(JudgeError, match="no chat template"):
        ask(make_local_judge(folder, compact), calls[:1])


NO_SYSTEM: Final = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


@pytest.mark.parametrize(
    ("chat_template", "merges"),
    [
        (CHAT_TEMPLATE, False),
        (NO_SYSTEM + CHAT_TEMPLATE, True),
        (CHAT_TEMPLATE.replace("in messages %}", "in messages if message.role != 'system' %}"), True),
    ],
    ids=["system", "refused", "left out"],
)
def test_a_system_message_joins_the_users_where_a_format_has_no_place_for_it(
    tmp_path: Path, model_folder: Path, calls: list[Call], chat_template: str, merges: bool
) -> None:
    pairwise = load_template("pairwise")
    folder = edit_folder(model_folder, tmp_path / "judge", chat_template)
    chat = ChatRendering.find(Plain(folder).tokenizer, pairwise, judge="tiny")
    assert chat.merges_system == merges
    assert pairwise.messages[0].content in chat.sample
    written: dict[str, Any] = {"verdict": "text", "max_new_tokens": 2}
    for settings in ({}, written):
        answers = ask(make_local_judge(folder, pairwise, max_length=2040, **settings), calls[:2])
        assert {(answer.status, answer.cut) for answer in answers.values()} == {("ok", False)}
    merged = merge_system_message([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    assert merged == [{"role": "user", "content": "S\n\nU"}]


def test_a_format_that_takes_no_request_at_all_is_refused(
    tmp_path: Path, model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    folder = edit_folder(model_folder, tmp_path / "judge", "{{ raise_exception('never') }}")
    with pytest.raises(JudgeError, match=r"refuses the request \(never\)"):
        ask(make_local_judge(folder, compact), calls[:1])


def test_thinking_is_switched_off_and_one_that_cannot_be_is_refused_for_probabilities(
    tmp_path: Path, model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    thought = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    switched = edit_folder(model_folder, tmp_path / "switched", CHAT_TEMPLATE + thought)
    call = calls[0]
    (answer,) = chain.from_iterable(make_local_judge(switched, compact).ask([call]))
    plain = Plain(model_folder)
    p = plain.weigh(plain.read(compact, call) + "<think>\n\n</think>\n\n")
    assert answer.score == pytest.approx(p["A"] / (p["A"] + p["B"]), abs=2e-6)
    always = edit_folder(model_folder, tmp_path / "always", CHAT_TEMPLATE + "<think>\n")
    with pytest.raises(JudgeError, match=r"think first[\s\S]*remedy: set `verdict` to text"):
        ask(make_local_judge(always, compact), [call])
    (written,) = chain.from_iterable(
        make_local_judge(always, compact, verdict="text", max_new_tokens=2).ask([call])
    )
    assert written.status == "ok"


def test_logits_that_are_not_finite_fail(
    tmp_path: Path, model_folder: Path, compact: Template, calls: list[Call]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model_folder, tmp_path / "judge")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    answers = ask(make_local_judge(folder, compact), calls[:3]).values()
    assert {(answer.status, answer.score) for answer in answers} == {("failed", None)}
    assert all("not finite" in (answer.reason or "") for answer in answers)


def test_no_call_gets_no_answer(model_folder: Path, compact: Template) -> None:
    assert list(chain.from_iterable(make_local_judge(model_folder, compact).ask([]))) == []


def test_a_model_is_opened_only_when_asked(tmp_path: Path, compact: Template) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    make_local_judge(tmp_path, compact).ask([])
