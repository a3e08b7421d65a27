"""Every stage computed in a fresh process: pickled with its spec and context, it gives the same bytes.

A project is brought up to date in this process. Then each asset's `compute`, spec and context are pickled; a new
process that knows nothing else unpickles and calls them; and the digest of what it writes is that of the record.
"""

import pickle
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.projects import make_trained
from rlaif_dagster.digest import Digest, FolderManifest
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Governance, Stage, StageContext
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.lineage.services import view_version
from rlaif_dagster.progress import ignore_progress

SMALL_TEST: Final = "tests/graph/test_fresh_process.py::test_a_stage_gives_the_same_bytes_in_a_fresh_process"
PROJECTS: Final[dict[str, dict[str, Any]]] = {
    "two rounds, an independent judge": {
        "rounds": 2,
        "evaluation": {
            "num_samples": 1,
            "max_new_tokens": 16,
            "best_of": 2,
            "ground_truth": "embedded_world",
            "judge": {"provider": "planted", "name": "independent"},
        },
    },
    "critique and revision": {
        "revision": {
            "critic": {"provider": "local", "model": "base_policy", "verdict": "text", "max_new_tokens": 16},
            "training": {"learning_rate": 3e-4},
        },
    },
}
_COMPUTE: Final = """
import pickle, sys
with open(sys.argv[1], "rb") as stream:
    compute, context, spec = pickle.load(stream)
compute(context, spec)
"""


def compute_afresh(project: Project, stage: Stage, work: Path) -> Digest:
    """Computes an asset in a process of its own, from the versions that are there now; returns the output's digest."""
    heads = project.ledger.find_heads()
    inputs = {name: work / "inputs" / name for name in stage.inputs}
    for name, folder in inputs.items():
        view_version(project, heads[name], folder)
    context = StageContext(
        inputs=inputs,
        digests={name: Digest.parse(heads[name].output.digest) for name in inputs},
        output=work / "output",
        scratch=work / "scratch",
        journal=work / "journal",
        attempt="afresh",
        services=NoHistory(),
    )
    for folder in (context.output, context.scratch):
        folder.mkdir(parents=True)
    (work / "stage.pickle").write_bytes(pickle.dumps((stage.computing.compute, context, stage.identity.spec)))
    subprocess.run([sys.executable, "-c", _COMPUTE, str(work / "stage.pickle")], check=True, cwd=work)
    return FolderManifest.from_folder(context.output).digest


def prove() -> list[dict[str, str]]:
    """Makes both projects and computes every asset again; raises at the first one that comes out otherwise."""
    return [_prove_project(title, sections) for title, sections in PROJECTS.items()]


def _prove_project(title: str, sections: dict[str, Any]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="rlaif-fresh-") as folder:
        root = Path(folder) / "project"
        make_trained(root)
        file = root / "inputs" / "pipeline.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | sections))
        project = Project.open(root)
        graph = project.build_graph()
        for name, stage in graph.items():
            ungated = replace(stage, governance=Governance())  # what tiny models pass is of no interest here
            record = materialise(project, ungated, progress=ignore_progress).record
            found = compute_afresh(project, stage, Path(folder) / name.replace("/", "."))
            if str(found) != record.output.digest:
                raise RuntimeError(f"{name} in {title}: {found}, and {record.output.digest} was recorded")
    return {"project": title, "stages computed in a fresh process": f"{len(graph)} of {len(graph)}"}
