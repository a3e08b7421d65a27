"""The Dagster UI in a real browser: everything materialises from a click."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif_dagster.lineage.project import Project

pytestmark = pytest.mark.slow

SECONDS = 300
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def ui(small_project: Path) -> Iterator[str]:
    """The address of the UI of a small project, started by `rlaif ui`."""
    if CHROMIUM is None:
        if os.environ.get("RLAIF_REQUIRE_BROWSER"):
            pytest.fail("no browser is installed, and RLAIF_REQUIRE_BROWSER asks for one")
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "RLAIF_PROJECT")}
    log = (small_project.parent / "ui.log").open("w")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rlaif_dagster.cli.main",
            "ui",
            f"--project={small_project}",
            f"--port={port}",
        ],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        for _ in range(SECONDS):
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=1)  # noqa: S310 - our own server
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(1)
        assert process.poll() is None, (small_project.parent / "ui.log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


def test_everything_materialises_from_a_click(ui: str, small_project: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(f"{ui}/asset-groups")
        expect(page.get_by_text("aligned_policy").first).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="Materialize all").click()
        project = Project.open(small_project)
        for _ in range(SECONDS):
            if len(project.ledger.find_heads()) == 13:
                break
            time.sleep(1)
        page.screenshot(path=str(small_project.parent / "graph.png"))
        page.goto(f"{ui}/assets/aligned_policy")
        expect(page.get_by_text("dvc_md5").first).to_be_visible(timeout=60_000)
        page.screenshot(path=str(small_project.parent / "asset.png"))
        digest = project.ledger.find_heads()["aligned_policy"].output.digest
        expect(page.get_by_text(digest.removeprefix("sha256:")[:12]).first).to_be_visible(timeout=60_000)
        browser.close()
