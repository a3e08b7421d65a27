"""OpenLineage events of real runs, received by a real server; and runs whose server is dead."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dagster import DagsterInstance

from rlaif_dagster.lineage.exporting.closure import VersionLineage
from rlaif_dagster.lineage.exporting.openlineage import export_openlineage
from rlaif_dagster.lineage.exporting.sending import EventSender
from rlaif_dagster.lineage.project import Project

from .toy_runs import RAISING, make_graph, run_graph


class Receiver:
    """A server that keeps what is posted to it, and answers with one status."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.keys: set[str | None] = set()
        self.status = 201
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.events.append(json.loads(body))
                receiver.paths.add(self.path)
                receiver.keys.add(self.headers["Authorization"])
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def states(self, asset: str) -> list[str]:
        return [event["eventType"] for event in self.events if event["job"]["name"] == asset]

    def last(self, asset: str) -> dict[str, Any]:
        return [event for event in self.events if event["job"]["name"] == asset][-1]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


@pytest.mark.slow
def test_a_run_tells_what_began_and_what_is_exported_later(
    project: Project, instance: DagsterInstance, receiver: Receiver
) -> None:
    assert run_graph(instance, project, make_graph()).success
    assert [receiver.states(asset) for asset in "abcd"] == [["START", "COMPLETE"]] * 4
    heads = project.ledger.find_heads()
    told = receiver.last("c")
    versions = {
        dataset["name"]: dataset["facets"]["version"]["datasetVersion"]
        for dataset in [*told["inputs"], *told["outputs"]]
    }
    assert versions == {name: heads[name].output.digest for name in "abc"}
    started = next(event for event in receiver.events if event["job"]["name"] == "c")
    assert started["run"]["runId"] == told["run"]["runId"]
    assert receiver.paths == {"/api/v1/lineage"}
    assert receiver.keys == {None}
    exported = map(json.loads, export_openlineage(VersionLineage.from_project(project, "d")).splitlines())
    assert list(exported) == [receiver.last(asset) for asset in "abcd"]


@pytest.mark.slow
def test_a_version_that_is_taken_again_and_a_failure_are_told(
    project: Project, instance: DagsterInstance, receiver: Receiver
) -> None:
    assert run_graph(instance, project, make_graph()).success
    first = receiver.last("a")
    assert not run_graph(instance, project, make_graph(b=RAISING)).success
    again = receiver.last("a")
    assert receiver.states("a") == ["START", "COMPLETE"] * 2
    assert again["outputs"] == first["outputs"]
    assert again["run"]["runId"] != first["run"]["runId"]
    assert receiver.states("b") == ["START", "COMPLETE", "START", "FAIL"]
    assert receiver.states("c") == ["START", "COMPLETE"]


def test_key_endpoint_and_namespace_come_from_the_environment_and_stay_there(
    project: Project, instance: DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"API_KEY": "s3cret", "ENDPOINT": "in/here", "NAMESPACE": "team"}.items():
        monkeypatch.setenv(f"OPENLINEAGE_{name}", value)
    assert run_graph(instance, project, make_graph(), ["a"]).success
    assert (receiver.paths, receiver.keys) == ({"/in/here"}, {"Bearer s3cret"})
    assert receiver.last("a")["job"]["namespace"] == "team"
    assert "s3cret" not in json.dumps(receiver.events)
    assert "s3cret" not in repr(EventSender())
    for path in project.root.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["dead", "refuses", "nonsense"])
def test_a_server_that_fails_is_one_warning_and_the_run_goes_on(
    project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cret")
    if fault == "refuses":
        receiver.status = 401
    else:
        url = "http://me:hidden@127.0.0.1:9" if fault == "dead" else "no address"
        monkeypatch.setenv("OPENLINEAGE_URL", url)
    with DagsterInstance.ephemeral() as instance:
        result = run_graph(instance, project, make_graph())
        logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 30]
    assert result.success
    assert set(project.ledger.find_heads()) >= set("abcd")
    [warning] = [text for text in logged if "OpenLineage" in text]
    assert "not sent for the rest of this run" in warning
    assert "s3cret" not in warning
    assert "hidden" not in warning
    assert ("HTTP status 401" in warning) == (fault == "refuses")
    assert len(receiver.events) == (1 if fault == "refuses" else 0)


def test_nothing_is_sent_unless_a_server_is_named(
    project: Project, instance: DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "True")
    assert run_graph(instance, project, make_graph(), ["a"]).success
    assert receiver.events == []
    assert not EventSender(environment={}).is_on
