"""The Dagster UI in a real browser, with its daemon: a click materialises everything, an edit rebuilds what it must.

Pictures for the documentation:  RLAIF_SCREENSHOTS=docs/images pytest tests/acceptance/test_ui.py
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.projects import make_trained
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from tests.acceptance.dagster_ui import VIEWPORT, DagsterPage, serve_ui, wait_until
from tests.conftest import edit_yaml

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DOWNSTREAM = {
    *("constitution", "judgements", "judge_audit", "judge_canary", "ai_preferences"),
    *("reward_model", "aligned_policy", "evaluation", "released_policy"),
}
"""What depends on a principle."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that trains for seconds, nothing materialised, that is looked at every two seconds."""
    folder = tmp_path_factory.mktemp("ui") / "project"
    make_trained(folder)
    edit_yaml(
        folder / "inputs" / "pipeline.yaml",
        lambda pipeline: pipeline.update(automation={"interval_seconds": 2}),
    )
    return folder


@pytest.fixture(scope="module")
def ui(project: Path) -> Iterator[DagsterPage]:
    """The UI of the project."""
    if CHROMIUM is None:
        if os.environ.get("RLAIF_REQUIRE_BROWSER"):
            pytest.fail("no browser is installed, and RLAIF_REQUIRE_BROWSER asks for one")
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    from playwright.sync_api import sync_playwright

    with serve_ui(project) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEWPORT, device_scale_factor=0.55)
        page.set_default_timeout(60_000)
        yield DagsterPage(page, address)
        browser.close()


@pytest.fixture(scope="module")
def heads(ui: DagsterPage, project: Path) -> dict[str, MaterialisationRecord]:
    """The newest versions after a click on "Materialize all"."""
    ui.open("/asset-groups", text="aligned_policy")
    ui.page.get_by_role("button", name="Materialize all").click()
    wait_until(lambda: ui.read_runs() and ui.read_runs()[0]["status"] in ("SUCCESS", "FAILURE"))
    return Project.open(project).ledger.find_heads()


def test_everything_materialises_from_a_click(
    ui: DagsterPage, heads: dict[str, MaterialisationRecord]
) -> None:
    assert set(heads) == DOWNSTREAM | {"prompts", "base_policy", "judge", "sampled_responses"}
    ui.open("/assets/aligned_policy", text="dvc_md5")
    digest = heads["aligned_policy"].output.digest
    ui.page.get_by_text(digest.removeprefix("sha256:")[:12]).first.wait_for()


def test_an_edit_shows_and_the_sensor_rebuilds_exactly_what_it_must_once(
    ui: DagsterPage, project: Path, heads: dict[str, MaterialisationRecord]
) -> None:
    wait_until(lambda: ui.read_badges() == set())
    if ui.keeps_pictures:
        ui.draw_graph("graph-fresh", num_badges=0)

    constitution = project / "inputs" / "constitution.yaml"
    constitution.write_text("# a comment changes nothing\n" + constitution.read_text())
    num_ticks = len(ui.read_sensor("watch_inputs")["ticks"])
    wait_until(lambda: len(ui.read_sensor("watch_inputs")["ticks"]) >= num_ticks + 2)
    assert ui.read_badges() == set()

    text = constitution.read_text()
    assert "Be polite to the user." in text
    constitution.write_text(text.replace("Be polite to the user.", "Use good manners and never be rude."))
    wait_until(lambda: ui.read_badges() == DOWNSTREAM)
    ui.draw_graph("graph-stale", num_badges=len(DOWNSTREAM))
    assert len(ui.read_runs()) == 1

    ui.switch_on("rebuild_on_edit")
    wait_until(lambda: ui.read_runs()[0]["status"] in ("SUCCESS", "FAILURE") and len(ui.read_runs()) == 2)
    run = ui.read_runs()[0]
    assert run["status"] == "SUCCESS"
    assert {"/".join(key["path"]) for key in run["assetSelection"]} == DOWNSTREAM
    rebuilt = Project.open(project).ledger.find_heads()
    assert {name for name in heads if rebuilt[name] != heads[name]} == DOWNSTREAM
    assert {rebuilt[name].run_id for name in DOWNSTREAM} == {run["runId"]}

    num_ticks = len(ui.read_sensor("rebuild_on_edit")["ticks"])
    wait_until(lambda: len(ui.read_sensor("rebuild_on_edit")["ticks"]) >= num_ticks + 2)
    assert len(ui.read_runs()) == 2
    # The newest tick may be under way, and have no reason yet.
    wait_until(lambda: ui.read_sensor("rebuild_on_edit")["ticks"][0]["skipReason"] == "nothing is stale")
    assert ui.read_badges() == set()
    ui.draw_graph("graph-rebuilt", num_badges=0)
