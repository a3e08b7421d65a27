"""Made `served_project_0_1_0.tar.xz`, with version 0.1.0 (commit 56ac083); kept to say what is in the archive.

    python make_served_project_0_1_0.py served_project_0_1_0.tar.xz

The project asks a served judge wherever a judge can be asked: about sampled pairs, in the judge's audit and canary,
about held-out answers, by an independent judge about these and about the answers at checkpoints, and as a critic. The
server is `tests.serving.fault_server` without faults. Its history is one run. Dagster's event log is left out.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml
from make_project_0_1_0 import (  # type: ignore[import-not-found]  # beside this script, which runs with 0.1.0
    PIPELINE,
    PRINCIPLES,
    VERBS,
    WORDS,
    write_constitution,
    write_model,
)

SERVER = Path(__file__).parents[1] / "serving" / "fault_server.py"
MODEL = '{"name": "%s", "latency": 0, "faults": {}}'
LONG_ANSWERS = {"temperature": 0.7, "max_new_tokens": 48}
"""So that no answer is cut, and every version stands after an upgrade."""
SHOWN = {
    "critique": ("principle", "prompt", "answer"),
    "revision": ("principle", "prompt", "answer", "critique"),
}
"""What a critic's two prompts show, each on a line of its own: the server says the answer again as it is."""


def describe_served(name: str, **more: str) -> dict[str, object]:
    """The settings of a judge at the server, whose address is in the environment."""
    return {"provider": "openai", "model": MODEL % name, "name": name, "api_key_env": None, **more}


def write_inputs(project: Path) -> None:
    inputs = project / "inputs"
    prompts = [f"{verb} {word}" for verb in VERBS for word in WORDS]
    (inputs / "prompts.jsonl").write_text("".join(f'{{"prompt": "{prompt}"}}\n' for prompt in prompts))
    for kind, names in SHOWN.items():
        content = "\n".join(f"{name.capitalize()}: {{{{ {name} | one_line }}}}" for name in names)
        template = {"messages": [{"role": "user", "content": content}], "writes": kind}
        (inputs / f"{kind}.yaml").write_text(yaml.safe_dump(template))
    (inputs / "judge.yaml").write_text(yaml.safe_dump(describe_served("judge", template="compact")))
    pipeline = {
        **PIPELINE,
        "sampling": {"provider": "local", "num_samples": 3, **LONG_ANSWERS},
        "policy": {**PIPELINE["policy"], "max_new_tokens": LONG_ANSWERS["max_new_tokens"]},
        "pairing": {"max_pairs_per_prompt": 2},
        "revision": {
            "critic": describe_served("critic"),
            "critique_template": "inputs/critique.yaml",
            "revision_template": "inputs/revision.yaml",
            "training": {"learning_rate": 1.0e-4},
        },
        "evaluation": {
            **PIPELINE["evaluation"],
            **LONG_ANSWERS,
            "judge": describe_served("other", template="compact"),
            "judge_checkpoints": True,
            "best_of": 2,
        },
    }
    (inputs / "pipeline.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    write_constitution(project, dict.fromkeys(PRINCIPLES, 1.0))


def main() -> None:
    target = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        project = folder / "project"
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(folder / "log")], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        environment = os.environ | {
            "DAGSTER_HOME": str(folder / "dagster"),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{int(server.stdout.readline())}/v1",
        }
        rlaif = [sys.executable, "-m", "rlaif_dagster.cli.main"]
        try:
            subprocess.run([*rlaif, "init", str(project)], check=True, env=environment)
            write_inputs(project)
            write_model(project / "models" / "tiny")
            subprocess.run([*rlaif, "run", "--project", str(project)], check=True, env=environment)
        finally:
            server.kill()
            server.communicate()
        with tarfile.open(target, "w:xz", preset=9) as archive:
            archive.add(project, "project")


if __name__ == "__main__":
    main()
