"""A response's text follows from its key, whatever else is sampled with it; known keys are not resampled."""

from pathlib import Path

import pytest
import torch

from rlaif_dagster.generation.chat import reply
from rlaif_dagster.generation.responses import ResponseKey, responses_schema
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import SamplingResult, sample_responses
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.tables import Row, read_table, write_table
from tests.training.tiny_models import PROMPTS

SETTINGS = LocalSamplingSettings(num_samples=2, max_new_tokens=20)
ROWS = [{"prompt_id": f"p{i:02}", "prompt": prompt} for i, prompt in enumerate(PROMPTS[::2])]


def sample(
    policy_path: Path,
    rows: list[Row],
    settings: LocalSamplingSettings = SETTINGS,
    *,
    batch_size: int = 64,
    known: dict[str, Row] | None = None,
) -> SamplingResult:
    return sample_responses(
        policy_path,
        rows,
        settings,
        root_seed=7,
        policy_digest="sha256:policy",
        device=torch.device("cpu"),
        batch_size=batch_size,
        known=known,
    )


@pytest.fixture(scope="module")
def reference(policy_path: Path) -> SamplingResult:
    return sample(policy_path, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_batch_size_changes_no_text(policy_path: Path, reference: SamplingResult, batch_size: int) -> None:
    assert sample(policy_path, ROWS, batch_size=batch_size) == reference


@pytest.mark.slow
def test_order_and_company_change_no_text(policy_path: Path, reference: SamplingResult) -> None:
    assert sample(policy_path, ROWS[::-1]) == reference
    some = {row["prompt_id"] for row in ROWS[3:17:2]}
    subset = sample(policy_path, ROWS[3:17:2], batch_size=4)
    assert list(subset.rows) == [row for row in reference.rows if row["prompt_id"] in some]


@pytest.mark.slow
def test_samples_of_one_prompt_differ_and_their_lengths_vary(reference: SamplingResult) -> None:
    texts = [row["text"] for row in reference.rows]
    differing = sum(a != b for a, b in zip(texts[::2], texts[1::2], strict=True))
    assert differing > len(ROWS) / 2
    assert len({row["num_tokens"] for row in reference.rows}) > 3


def test_raising_the_number_of_samples_samples_only_the_new_ones(
    policy_path: Path, reference: SamplingResult
) -> None:
    known = {row["response_id"]: row for row in reference.rows}
    more = sample(policy_path, ROWS, SETTINGS.model_copy(update={"num_samples": 3}), known=known)
    assert (more.num_sampled, more.num_reused) == (len(ROWS), 2 * len(ROWS))
    assert [row for row in more.rows if row["index"] < 2] == list(reference.rows)


def test_a_policy_whose_responses_are_all_known_is_not_opened(reference: SamplingResult) -> None:
    known = {row["response_id"]: row for row in reference.rows}
    again = sample(Path("no such folder"), ROWS, known=known)
    assert again.rows == reference.rows
    assert again.num_sampled == 0


def test_every_part_of_a_key_counts_and_the_number_of_samples_does_not() -> None:
    key = ResponseKey(prompt="p", policy="a", settings=SETTINGS, root_seed=1, index=0)
    changed = [
        ResponseKey(prompt="q", policy="a", settings=SETTINGS, root_seed=1, index=0),
        ResponseKey(prompt="p", policy="b", settings=SETTINGS, root_seed=1, index=0),
        ResponseKey(prompt="p", policy="a", settings=SETTINGS, root_seed=2, index=0),
        ResponseKey(prompt="p", policy="a", settings=SETTINGS, root_seed=1, index=1),
        *(
            ResponseKey(
                prompt="p", policy="a", settings=SETTINGS.model_copy(update=update), root_seed=1, index=0
            )
            for update in ({"temperature": 0.5}, {"top_p": 0.5}, {"max_new_tokens": 5}, {"dtype": "bfloat16"})
        ),
    ]
    assert len({key.response_id, *(other.response_id for other in changed)}) == 9
    assert len({key.seed, *(other.seed for other in changed)}) == 9
    wider = SETTINGS.model_copy(update={"num_samples": 9})
    assert (
        ResponseKey(prompt="p", policy="a", settings=wider, root_seed=1, index=0).response_id
        == key.response_id
    )


def test_rows_fit_the_table(reference: SamplingResult, tmp_path: Path) -> None:
    path = tmp_path / "responses.parquet"
    assert write_table(path, reference.rows, responses_schema()) == 2 * len(ROWS)
    assert read_table(path) == list(reference.rows)


def test_a_chat_reply_is_what_sampling_gives(policy_path: Path, reference: SamplingResult) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    row = reference.rows[0]
    completion = reply(model, tokenizer, ROWS[0]["prompt"], settings=SETTINGS, seed=row["seed"])
    assert completion.text == row["text"]
