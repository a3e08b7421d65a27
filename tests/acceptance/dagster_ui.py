"""The Dagster UI of a project, started by `rlaif ui`, as a browser and its API see it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page, ViewportSize

SECONDS = 900
"""How long anything may take on a busy machine."""
SCREENSHOTS_VARIABLE = "RLAIF_SCREENSHOTS"
"""Environment variable that names a folder for the pictures in the documentation."""
VIEWPORT: "ViewportSize" = {"width": 3300, "height": 2300}
"""So large that the boxes of the graph show their text."""
_GRAPH: "FloatRect" = {"x": 560, "y": 120, "width": 2700, "height": 2160}
"""Where the graph is on the page."""
_LOCATION = "rlaif_dagster.definitions"


@contextmanager
def serve_ui(project: Path) -> Iterator[str]:
    """Runs `rlaif ui`, with its daemon; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "RLAIF_PROJECT")}
    command = [sys.executable, "-m", "rlaif_dagster.cli.main", "ui", f"--project={project}", f"--port={port}"]
    output = project.parent / "ui.log"
    with output.open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or is_up(address))
        assert process.poll() is None, output.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_up(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/server_info", timeout=5)  # noqa: S310 - our own server
    except OSError:
        return False
    return True


def wait_until(is_true: Callable[[], object]) -> None:
    """Looks twice a second."""
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)


class DagsterPage:
    """A browser's page on the UI, and the API that the page itself uses."""

    def __init__(self, page: "Page", address: str) -> None:
        self.page = page
        self._address = address

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures are asked for."""
        return SCREENSHOTS_VARIABLE in os.environ

    def open(self, path: str, *, text: str) -> None:
        """Opens a page and waits for a text on it."""
        self.page.goto(self._address + path)
        self.page.get_by_text(text).first.wait_for()

    def draw_graph(self, name: str, *, num_badges: int) -> None:
        """Opens the graph of all assets and waits for its badges; keeps a picture if a folder is named."""
        from playwright.sync_api import expect

        self.open("/asset-groups", text="aligned_policy")
        self.page.get_by_text("Checks").first.wait_for()
        expect(self.page.get_by_text("Loading")).to_have_count(0, timeout=SECONDS * 1000)
        expect(self.page.get_by_text("Unsynced")).to_have_count(num_badges, timeout=SECONDS * 1000)
        if folder := os.environ.get(SCREENSHOTS_VARIABLE):
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), clip=_GRAPH)

    def switch_on(self, automation: str) -> None:
        """Switches a sensor or schedule on."""
        self.open("/automation", text=automation)
        row = self.page.get_by_role("link", name=automation).locator("xpath=..")
        row.locator("label").nth(1).click()  # the first one selects the row
        wait_until(lambda: self.read_sensor(automation)["status"] == "RUNNING")

    def ask(self, query: str) -> Any:
        """Asks the API."""
        answer = self.page.request.post(f"{self._address}/graphql", data={"query": query}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def read_badges(self) -> set[str]:
        """The assets that the UI shows as stale or missing."""
        nodes = self.ask("{assetNodes {assetKey {path} staleStatus}}")["assetNodes"]
        return {"/".join(node["assetKey"]["path"]) for node in nodes if node["staleStatus"] != "FRESH"}

    def read_runs(self) -> list[dict[str, Any]]:
        """The runs, newest first."""
        runs: list[dict[str, Any]] = self.ask(
            "{runsOrError {... on Runs {results {runId status assetSelection {path} tags {key value}}}}}"
        )["runsOrError"]["results"]
        return runs

    def read_sensor(self, name: str) -> dict[str, Any]:
        """The state of a sensor: status, and ticks, newest first."""
        state: dict[str, Any] = self.ask(
            "{sensorOrError(sensorSelector: {"
            f'repositoryName: "__repository__", repositoryLocationName: "{_LOCATION}", sensorName: "{name}"'
            "}) {... on Sensor {sensorState {status ticks {status skipReason runIds}}}}}"
        )["sensorOrError"]["sensorState"]
        return state
