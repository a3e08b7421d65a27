"""One plain `pip install` of the wheel, without the lock, is enough."""

import os
from pathlib import Path

import pytest

from proofs.plain_install import (
    PlainInstall,
    install,
    is_index_reachable,
    read_selections_here,
    try_commands,
)

pytestmark = pytest.mark.slow

REQUIRE_VARIABLE = "RLAIF_REQUIRE_INSTALL"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> PlainInstall:
    if REQUIRE_VARIABLE not in os.environ and not is_index_reachable():
        pytest.skip(f"pip reaches no package index; {REQUIRE_VARIABLE}=1 makes that a failure")
    return install(tmp_path_factory.mktemp("plain"))


def test_a_new_user_samples_responses(installed: PlainInstall, tmp_path: Path) -> None:
    row = try_commands(installed, tmp_path / "project", ["sampled_responses"])
    assert row["run"] == "3 assets computed"


def test_dagster_reads_texts_as_with_the_runtime_that_its_parser_was_made_for(
    installed: PlainInstall,
) -> None:
    """The lock has antlr4 4.13, a plain install 4.9; omegaconf and hydra still work beside it."""
    assert installed.find_version("antlr4-python3-runtime").startswith("4.9.")
    assert installed.read_selections() == read_selections_here()
    assert installed.use_hydra() == "1 [1]"
