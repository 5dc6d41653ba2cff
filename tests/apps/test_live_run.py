"""`dino-lab lab` as a user starts it, in real Chromium, while a real run trains."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from dino_core import checkpoint
from dino_core.rundir.read import checkpoints, probes, read_table, status
from tests.chromium import ARGUMENTS, CHROMIUM, SKIPPED, may_skip

SMALL = (
    "--data.shapes.images", "64", "--data.shapes.size", "32", "--crops.global-size", "32", "--crops.local-size", "16",
    "--crops.local-crops", "2", "--backbone.dim", "32", "--backbone.depth", "2", "--backbone.heads", "2", "--batch-size", "8",
    "--evaluation.size", "32", "--evaluation.train-images", "40", "--evaluation.test-images", "20", "--output.log-every", "1",
    "--output.probe-images", "4", "--output.checkpoint-every", "40", "--steps", "100000", "--machine.threads", "1",
)  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(may_skip(), reason=SKIPPED),
]


@pytest.fixture(scope="module")
def lab_and_training(tmp_path_factory):
    """`dino-lab lab` with a run that would go on for ever; ended as by Ctrl-C."""
    runs = tmp_path_factory.mktemp("lab") / "runs"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dino_core.cli", "lab", "--runs", str(runs), "--port", str(port), *SMALL]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not listening(port) or not (runs / "tiny" / "probes").is_dir() or len(checkpoints(runs / "tiny")) < 3:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}", runs / "tiny", process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(90)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def page(lab_and_training):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(90_000)
        page.asked, page.mistakes = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.goto(lab_and_training[0])
        page.get_by_text("What each head looks at").wait_for()
        page.locator(".transport output", has_text=re.compile(r"step \d")).wait_for()
        yield page
        browser.close()


def shown_step(page) -> int:
    return int(re.sub(r"\D", "", page.locator(".transport output").inner_text().split("of")[0]))


def test_the_page_shows_the_live_run_beside_the_recorded_one(page):
    listed = page.locator("[data-view=runs]").inner_text()
    assert "tiny" in listed
    assert "dino_shapes" in listed
    titles = (
        "What emerges",
        "What the loss is made of",
        "Which patches are alike",
        "Signs of collapse",
        "Centre and prototypes",
    )
    for title in titles:
        assert page.get_by_text(title, exact=True).count() == 1, title
    page.locator("canvas").nth(3).wait_for()  # curves come with their data, after the cards


def test_a_new_checkpoint_appears_by_itself_and_takes_nothing_away(page, lab_and_training):
    _, run, _ = lab_and_training
    page.mouse.wheel(0, 500)
    page.wait_for_timeout(500)
    scrolled, before = page.evaluate("scrollY"), shown_step(page)
    deadline = time.monotonic() + 90
    while shown_step(page) <= before and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert shown_step(page) > before
    assert shown_step(page) in probes(run)
    assert page.evaluate("scrollY") == scrolled


def test_the_clock_goes_back_to_the_untrained_network_and_stays_there(page):
    page.get_by_role("button", name="First checkpoint").click()
    assert shown_step(page) == 0
    page.wait_for_timeout(3000)
    assert shown_step(page) == 0
    page.get_by_role("button", name=re.compile("Newest checkpoint")).click()
    page.wait_for_timeout(500)
    assert shown_step(page) > 0


def test_nothing_is_asked_of_any_other_machine_and_nothing_goes_wrong(page, lab_and_training):
    elsewhere = [url for url in page.asked if not url.startswith((lab_and_training[0], "data:", "blob:"))]
    assert elsewhere == []
    assert page.mistakes == []


def test_it_fits_a_phone_and_the_dark(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 90, ground
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_viewer_holds_no_torch(lab_and_training):
    """Its server stays a small process: torch alone would take 500 MiB."""
    import psutil

    children = psutil.Process(lab_and_training[2].pid).children()
    viewer = next(child for child in children if "watch" in child.cmdline())
    assert not any("libtorch" in mapped.path for mapped in viewer.memory_maps())
    assert viewer.memory_info().rss < 350 * 2**20


def test_ctrl_c_stops_both_and_saves(page, lab_and_training):
    address, run, process = lab_and_training
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the lab, its trainer and its viewer
    assert process.wait(90) == 0
    assert status(run) == "stopped"
    assert read_table(run / "events.jsonl")[0][-1]["why"] == "Ctrl-C"
    assert checkpoint.newest_state(run) is not None
    assert not listening(int(address.rsplit(":", 1)[1]))
