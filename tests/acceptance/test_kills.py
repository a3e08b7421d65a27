"""SIGKILL at any instant leaves a project that the next run completes; `benchmarks.kills` does it hundreds of times."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kills import TARGETS, run_round, run_undisturbed


@pytest.mark.slow
def test_runs_killed_at_random_instants_end_as_one_that_was_not(tmp_path: Path) -> None:
    target = replace(TARGETS[False], num_runs=2)
    undisturbed = run_undisturbed(tmp_path / "undisturbed", target)
    chance = random.Random(17)  # noqa: S311 - instants, no secrets
    assert run_round(tmp_path / "killed", target, undisturbed, chance=chance) > 0
