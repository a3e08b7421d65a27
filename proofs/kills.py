"""`rlaif run` killed by SIGKILL at random instants: the next run completes the project, with the same digests.

The work is that of `benchmarks.kills`, for projects with recorded feedback (seconds a run) and for projects in which
every asset is trained (a minute a run).
"""

import random
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.kills import TARGETS, run_round, run_undisturbed

SMALL_TEST: Final = (
    "tests/acceptance/test_kills.py::test_runs_killed_at_random_instants_end_as_one_that_was_not"
)
NUM_KILLS: Final = {False: 200, True: 20}
"""How many runs are killed, by whether every asset is trained."""


def prove() -> list[dict[str, str]]:
    """Kills runs until the numbers are reached; raises at the first project that ends otherwise."""
    return [_prove_target(is_trained) for is_trained in TARGETS]


def _prove_target(is_trained: bool) -> dict[str, str]:
    target, kills, rounds = TARGETS[is_trained], 0, 0
    with tempfile.TemporaryDirectory(prefix="rlaif-kills-") as folder:
        undisturbed = run_undisturbed(Path(folder) / "undisturbed", target)
        while kills < NUM_KILLS[is_trained]:
            chance = random.Random(rounds)  # noqa: S311 - instants, no secrets
            kills += run_round(Path(folder) / str(rounds), target, undisturbed, chance=chance)
            rounds += 1
    return {
        "project": "every asset trained" if is_trained else "recorded feedback",
        "runs killed": str(kills),
        "rounds completed with the digests of the undisturbed run": f"{rounds} of {rounds}",
        "audit findings, held locks, open runs": "0",
    }
