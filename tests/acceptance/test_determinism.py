"""Same inputs, same bytes: in another folder, another process, at another time."""

from pathlib import Path

import pytest

from benchmarks.projects import make_trained
from rlaif_dagster.cli.init import init_command
from tests.conftest import make_small, run_assets


@pytest.mark.slow
def test_two_projects_with_the_same_inputs_have_the_same_digests(tmp_path: Path, whole: bool) -> None:
    results = []
    for name in ("one", "a_longer_name"):
        folder = tmp_path / name / "project"
        if whole:
            init_command(folder)
            make_small(folder)
        else:
            make_trained(folder)
        results.append(run_assets(project=folder, cold=name == "one"))
        assert (folder / "data.dvc").is_file()
    assert results[0] == results[1]
    pins = [(tmp_path / name / "project" / "data.dvc").read_bytes() for name in ("one", "a_longer_name")]
    assert pins[0] == pins[1]
