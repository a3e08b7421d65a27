"""The provider of docs/extending.md, built and installed from the page as it stands, judges in a project.

The package is installed into a folder of its own, which a process sees or does not see: so installing, upgrading and
removing it take no environment.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.projects import make_recorded, make_trained
from rlaif_dagster.judging.served import ServedJudgeSettings
from rlaif_dagster.judging.settings import AskedJudgeSettings
from rlaif_dagster.lineage.project import Project
from tests.conftest import edit_yaml
from tests.docs.pages import read_examples, read_page, read_table
from tests.docs.states import PERSON

PAGE = "extending.md"
FILES = {one.label: one.text for one in read_examples(PAGE) if one.label}
MODULE, PROJECT_FILE, JUDGE = "rlaif_messages.py", "pyproject.toml", "judge.yaml of a plug-in"
KEY = "messages-key-0123456789"
MESSAGE = "no installed distribution offers the judge provider 'messages'"


@dataclass
class MessagesServer:
    """A server of the Messages API, whose judge prefers the longer answer, and what it was asked."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def serve_messages() -> Iterator[MessagesServer]:
    """Serves in a thread of this process."""
    server = MessagesServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.bodies.append(body)
            is_known = self.path == "/v1/messages" and self.headers["x-api-key"] == KEY
            reply = json.dumps(answer(body) if is_known else {"error": {"message": "who are you?"}}).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield server
        finally:
            http.shutdown()


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The message of a judge that prefers the longer of the two answers between the marks of `pairwise`."""
    (turn,) = body["messages"]
    first, second = re.findall(r"⟦ANSWER [AB]⟧(.*?)⟦END", turn["content"], re.DOTALL)
    return {
        "content": [{"type": "text", "text": "A" if len(first) >= len(second) else "B"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 1},
    }


def install(folder: Path, *, version: str = "0.1.0") -> Path:
    """Builds the page's files as a wheel, and installs it into a folder, which is returned."""
    source, target = folder / f"source-{version}", folder / f"installed-{version}"
    source.mkdir()
    for name in (MODULE, PROJECT_FILE):
        (source / name).write_text(FILES[name].replace('version = "0.1.0"', f'version = "{version}"'))
    pip = [sys.executable, "-m", "pip", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob(f"*-{version}-*.whl")
    subprocess.run([*pip, "install", *options[:2], "--target", str(target), str(wheel)], check=True)
    return target


def see(plug_in: Path | None) -> dict[str, str]:
    """The environment of a process that sees an installed plug-in, or none."""
    path = [str(plug_in)] if plug_in else []
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*path, *sys.path]),
        "MESSAGES_API_KEY": KEY,
        "COLUMNS": "200",
    }


def rlaif(project: Path, *arguments: str, plug_in: Path | None) -> subprocess.CompletedProcess[str]:
    """Runs `rlaif` in a process that sees an installed plug-in, or none."""
    return subprocess.run(
        [sys.executable, "-m", "rlaif_dagster.cli.main", *arguments, "--project", str(project)],
        env=see(plug_in),
        capture_output=True,
        text=True,
        check=False,
    )


def run_judgements(project: Path, plug_in: Path) -> dict[str, Any]:
    done = rlaif(project, "run", "judgements", "--json", plug_in=plug_in)
    assert done.returncode == 0, done.stderr[-3000:]
    assets: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["assets"]
    return {name: asset["status"] for name, asset in assets.items()}


def list_stale(project: Path, plug_in: Path) -> dict[str, list[str]]:
    """By asset that a run of `judgements` would make the paths of the causes."""
    done = rlaif(project, "plan", "judgements", "--json", plug_in=plug_in)
    assert done.returncode == 0, done.stderr[-3000:]
    stale = json.loads(done.stdout.splitlines()[-1])["stale"]
    return {item["asset"]: [cause["path"] for cause in item["causes"]] for item in stale}


@dataclass(frozen=True)
class Judged:
    """A project whose `judgements` a plug-in made, the plug-in, and its server."""

    project: Path
    plug_in: Path
    server: MessagesServer
    plan: dict[str, Any]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp("extending")
    plug_in, project = install(folder), folder / "project"
    make_recorded(project)
    with serve_messages() as server:
        judge = FILES[JUDGE].replace("http://localhost:8080", server.url)
        (project / "inputs" / "judge.yaml").write_text(judge)
        planned = rlaif(project, "plan", "judgements", "--json", plug_in=plug_in)
        assert planned.returncode == 0, planned.stderr[-3000:]
        assert set(run_judgements(project, plug_in).values()) == {"computed"}
        yield Judged(project, plug_in, server, json.loads(planned.stdout.splitlines()[-1]))


def test_the_provider_has_at_most_40_lines() -> None:
    assert len(FILES[MODULE].splitlines()) <= 40


@pytest.mark.slow
def test_it_asks_in_the_servers_own_way_and_a_plan_bounds_what_that_takes(judged: Judged) -> None:
    record = Project.open(judged.project).ledger.find_heads()["judgements"]
    calls, planned = record.counts["judge_calls_asked"], judged.plan["total"]
    assert calls == len(judged.server.bodies) > 0
    assert planned["judge_calls"]["max"] >= calls
    assert planned["currency"] == "USD"
    assert planned["cost"]["max"] > 0
    assert record.counts["judge_input_tokens"] == 100 * calls
    assert record.metrics["judge_cost_USD"] == pytest.approx(calls * (100 * 3.0 + 1 * 15.0) / 1e6)
    for headers, body in zip(judged.server.headers, judged.server.bodies, strict=True):
        assert headers["x-api-key"] == KEY
        assert "authorization" not in headers
        assert set(body) <= {"model", "system", "messages", "max_tokens", "temperature"}
        assert all(turn["role"] != "system" for turn in body["messages"])


@pytest.mark.slow
def test_the_recipe_states_the_distribution_and_its_version(judged: Judged) -> None:
    record = Project.open(judged.project).ledger.find_heads()["judge"]
    origin = {"distribution": "rlaif-messages", "version": "0.1.0"}
    assert record.recipe_parts.settings["judge"]["plug_in"] == origin
    stored = json.loads((judged.project / "data" / "judge" / "judge.json").read_bytes())
    assert stored["plug_in"] == origin


@pytest.mark.slow
def test_what_it_made_is_reused(judged: Judged) -> None:
    num_asked = len(judged.server.bodies)
    assert list_stale(judged.project, judged.plug_in) == {}
    assert set(run_judgements(judged.project, judged.plug_in).values()) == {"reused"}
    assert len(judged.server.bodies) == num_asked


@pytest.mark.slow
def test_another_version_is_another_judge(judged: Judged, tmp_path: Path) -> None:
    """It is named as the cause, and until the judge is recorded anew nobody is asked in the name of the old one."""
    newer = install(tmp_path, version="0.2.0")
    stale = list_stale(judged.project, newer)
    assert set(stale) == {"judge", "judgements"}
    assert stale["judge"] == ["inputs/judge.yaml: plug_in.version"]
    refused = rlaif(judged.project, "canary", plug_in=newer)
    assert refused.returncode != 0
    assert "is of rlaif-messages 0.2.0, but it was recorded with rlaif-messages 0.1.0" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "plan"])
def test_without_it_a_run_and_a_plan_say_what_to_install(judged: Judged, command: str) -> None:
    done = rlaif(judged.project, command, plug_in=None)
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert MESSAGE in told
    assert "judge.yaml, line 1, field 'provider'" in told
    assert "pip install 'rlaif-messages==0.1.0', with which judge@" in told
    assert "set provider to one of jury, local, openai, planted, recorded" in told


@pytest.mark.slow
def test_without_it_and_without_a_record_a_plan_says_that_no_distribution_offers_it(tmp_path: Path) -> None:
    make_recorded(tmp_path / "project")
    (tmp_path / "project" / "inputs" / "judge.yaml").write_text(FILES[JUDGE])
    told = " ".join(rlaif(tmp_path / "project", "plan", plug_in=None).stderr.split())
    assert MESSAGE in told
    assert "set provider to one of jury, local, openai, planted, recorded; or install" in told


@pytest.mark.slow
def test_without_it_the_history_can_be_looked_into(judged: Judged, tmp_path: Path) -> None:
    heads = Project.open(judged.project).ledger.find_heads()
    judgements = f"judgements@{heads['judgements'].output.digest}"

    def call(*arguments: str) -> str:
        done = rlaif(judged.project, *arguments, plug_in=None)
        assert done.returncode == 0, (arguments, done.stderr[-3000:])
        return done.stdout

    assert json.loads(call("audit", "--json").splitlines()[-1])["findings"] == []
    assert "judge" in call("trace", judgements)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "judged"]):
        subprocess.run(["git", *command], cwd=judged.project, env=os.environ | PERSON, check=True)
    assert json.loads(call("diff", "HEAD", "HEAD", "--json").splitlines()[-1])["judge"] in (None, [])
    call("checkout", "HEAD", str(tmp_path / "past"), "--all")
    call("checkout", judgements, str(tmp_path / "judgements"))
    assert any((tmp_path / "judgements").iterdir())
    status = json.loads(call("status", "--json").splitlines()[-1])
    assert status["assets"]["judgements"]["digest"] == heads["judgements"].output.digest
    assert {asset["state"] for asset in status["assets"].values()} == {"unknown"}
    assert "rlaif-messages==0.1.0" in status["problem"]
    assert "rlaif-messages==0.1.0" in " ".join(call("status").split())


@pytest.mark.slow
def test_doctor_names_it_with_its_version_and_its_absence_with_the_remedy(judged: Judged) -> None:
    assert "messages (rlaif-messages 0.1.0)" in rlaif(judged.project, "doctor", plug_in=judged.plug_in).stdout
    without = rlaif(judged.project, "doctor", plug_in=None)
    assert without.returncode == 1
    assert "pip install 'rlaif-messages==0.1.0'" in without.stdout


LIST_RECIPES = """
import json, sys
from pathlib import Path
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.profile import JudgeProfile
inputs = ProjectInputs.read(Path(sys.argv[1]))
profiles = [JudgeProfile.from_settings(one.settings, one.template, model=None) for one in inputs.judges]
print(json.dumps({
    "recipes": {name: stage.identity.settings for name, stage in build_graph(inputs).items()},
    "fingerprints": {profile.name: str(profile.fingerprint) for profile in profiles},
}))
"""


@pytest.mark.slow
def test_every_recipe_with_such_a_judge_and_its_fingerprint_know_the_version(tmp_path: Path) -> None:
    """In a jury, as independent judge and as critic; of the judges beside it nothing changes."""
    project = tmp_path / "project"
    make_trained(project)
    named = {"provider": "messages", "model": "m", "base_url": "http://localhost:1"}
    jury = {"provider": "jury", "judges": [{"provider": "planted"}, named]}
    (project / "inputs" / "judge.yaml").write_text(yaml.safe_dump(jury))

    def use(pipeline: dict[str, Any]) -> None:
        pipeline["evaluation"]["judge"] = named | {"name": "independent"}
        pipeline["revision"] = {"critic": named}

    edit_yaml(project / "inputs" / "pipeline.yaml", use)
    told = {}
    for version in ("0.1.0", "0.2.0"):
        command = [sys.executable, "-c", LIST_RECIPES, str(project)]
        done = subprocess.run(
            command, env=see(install(tmp_path, version=version)), capture_output=True, text=True, check=True
        )
        told[version] = json.loads(done.stdout)
    old, new = told.values()
    changed = {name for name, settings in old["recipes"].items() if settings != new["recipes"][name]}
    assert changed == {"judge", "evaluation_judge", "critic"}
    assert old["fingerprints"]["planted"] == new["fingerprints"]["planted"]
    assert old["fingerprints"]["m"] != new["fingerprints"]["m"]


def test_the_table_of_members_is_complete() -> None:
    members = {
        name
        for base in AskedJudgeSettings.__mro__
        if base.__module__ == AskedJudgeSettings.__module__
        for name in vars(base)
        if not name.startswith(("_", "model_")) and name not in AskedJudgeSettings.model_fields
    }
    told = read_table(PAGE, below="What a provider defines").cells("member")
    assert sorted(told) == sorted(f"`{name}`" for name in members)


def test_every_field_of_the_bases_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", read_page(PAGE, below="What a provider defines")))
    assert set(ServedJudgeSettings.model_fields) - {"provider"} <= named


def test_the_example_of_a_judge_names_the_provider_that_the_page_offers() -> None:
    assert yaml.safe_load(FILES[JUDGE])["provider"] == "messages"
    assert 'messages = "rlaif_messages:MessagesJudgeSettings"' in FILES[PROJECT_FILE]
