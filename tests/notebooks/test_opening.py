"""`make notebooks`: a copy of one's own, and a JupyterLab that asks nobody outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from notebooks import building
from notebooks.opening import OFFLINE, command, copies, environment


def test_every_notebook_is_copied_once_and_then_left_alone(tmp_path):
    placed = copies(tmp_path / "course")
    assert [path.stem for path in placed] == [path.stem for path in building.sources()]
    placed[0].write_text("mine")
    copies(tmp_path / "course")
    assert placed[0].read_text() == "mine"


def test_fresh_ones_come_beside_what_was_written(tmp_path):
    first = copies(tmp_path)[0]
    for words in ("mine", "mine again"):
        first.write_text(words)
        copies(tmp_path, fresh=True)
    kept = [path.read_text() for path in sorted(tmp_path.glob("*.mine*.ipynb"))]
    assert sorted(kept) == ["mine", "mine again"]
    assert json.loads(first.read_text())["cells"]


def test_teachers_get_theirs(tmp_path):
    assert "BEGIN SOLUTION" in copies(tmp_path, building.INSTRUCTOR)[2].read_text()


def test_it_starts_on_the_first_notebook_and_only_here(tmp_path):
    words = command(tmp_path, "00_tour.ipynb", ["--no-browser"])
    assert words[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/00_tour.ipynb" in words
    assert "--ServerApp.ip=127.0.0.1" in words
    assert words[-1] == "--no-browser"
    told = command(tmp_path, "00_tour.ipynb", ["--ServerApp.ip=0.0.0.0"])  # as in the Dockerfile; JupyterLab takes one
    assert [word for word in told if ".ip=" in word] == ["--ServerApp.ip=0.0.0.0"]


@pytest.mark.parametrize(("user", "told"), [(0, True), (1000, False)])
def test_root_is_told_to_jupyterlab_which_refuses_it_else(user, told, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in command(tmp_path, "00_tour.ipynb", [])) is told


def answer(url: str) -> str:
    """Of a server that has said where it will listen, and may not listen yet."""
    until = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=60).read().decode()
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.mark.slow
def test_jupyterlab_starts_and_its_kernels_know_the_course(tmp_path):
    """A real server; what it tells the page about news and updates; what a kernel of it imports is tested by executing."""
    words = [sys.executable, "-m", "notebooks", "open", "--folder", str(tmp_path / "course"), "--no-browser"]
    words += ["--ServerApp.port=0", "--IdentityProvider.token=abc"]
    log = tmp_path / "log"
    settings = {**environment(), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    with log.open("w") as out:
        server = subprocess.Popen(words, stdout=out, stderr=out, env=settings, start_new_session=True)
    try:
        about = None
        until = time.monotonic() + 90
        while about is None and time.monotonic() < until and server.poll() is None:
            found = list((tmp_path / "runtime").glob("jpserver-*.json"))
            about = json.loads(found[0].read_text()) if found else time.sleep(0.2)
        assert about, log.read_text()
        page = answer(f"{about['url']}lab/tree/00_tour.ipynb?token=abc")
        config = json.loads(page.split('id="jupyter-config-data" type="application/json">')[1].split("</script>")[0])
        assert config["news"] == {"disabled": True}
        assert config["extensionManager"]["can_install"] is False
        assert json.loads(answer(f"{about['url']}lab/api/update?token=abc"))["notification"] is None
        assert about["root_dir"] == str((tmp_path / "course").resolve())
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_the_flags_are_ones_that_this_jupyterlab_knows():
    """A flag that a new version has renamed is ignored without a word, and news would come again."""
    from jupyterlab.labapp import LabApp

    for flag in OFFLINE:
        name = flag.removeprefix("--LabApp.").split("=")[0]
        assert name in LabApp.class_traits(), flag
