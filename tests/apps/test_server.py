"""What the lab's server gives, and what it refuses."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from apps import watch
from apps.server import host_of
from tests.apps.growing import Growing
from tests.apps.served import free_port, serving

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
EVIL = "<img src=x onerror=alert(1)>"


class Lab:
    def __init__(self, address: str, folder: Path) -> None:
        self.host = address.removeprefix("http://")
        self.folder = folder

    def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """The path is sent as it is, not tidied up as browsers do."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}

    def json(self, path: str) -> Any:
        status, content, _ = self.get(path)
        assert status == 200, content
        return json.loads(content)

    def id_of(self, name: str) -> str:
        return next(run["id"] for run in self.json("/api/runs")["runs"] if run["name"] == name)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    (root / "secret").mkdir()
    (root / "secret" / "run.json").write_text('{"format": 1, "name": "secret"}')
    evil = Growing(root / "runs" / "evil", name=EVIL)
    evil.log(3)
    evil.probe()
    evil.writer.close()
    with serving(root / "runs", root / "cache") as (address, _):
        yield Lab(address, root)


def test_the_list_names_every_run_below_the_folder_and_no_path(lab: Lab) -> None:
    answer = lab.json("/api/runs")
    assert {run["name"] for run in answer["runs"]} == {"run_v1", EVIL}
    assert str(lab.folder) not in json.dumps(answer)


def test_since_gives_the_history_then_only_what_is_new(lab: Lab) -> None:
    run = lab.id_of("run_v1")
    first = lab.json(f"/api/run/{run}/since")
    assert first["reset"]
    assert first["head"]["step"] == 500
    status, content, _ = lab.get(f"/api/run/{run}/since?cursor={first['cursor']}")
    assert (status, content) == (204, b"")


def test_the_labs_own_files_are_sent_once_and_then_known(lab: Lab) -> None:
    status, content, headers = lab.get("/static/lab/dom.js")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert content == (ROOT / "lab" / "static" / "dom.js").read_bytes()
    assert lab.get("/static/lab/dom.js", **{"If-None-Match": headers["etag"]})[:2] == (304, b"")
    assert lab.get("/static/lab/..%2fworker.py")[0] == 404


def test_tensors_are_sent_once_and_then_known(lab: Lab) -> None:
    run = lab.id_of("run_v1")
    for path in (
        "images", "probe/200/features", "probe/200/attention", "probe/200/attention?layer=1",
        "probe/200/pca?anchor=500&mode=joint", "probe/200/pca?mode=image&foreground=true",
        "probe/200/features?network=student",
    ):  # fmt: skip
        status, content, headers = lab.get(f"/api/run/{run}/{path}")
        assert status == 200, (path, content)
        assert load(content)
        status, content, _ = lab.get(f"/api/run/{run}/{path}", **{"If-None-Match": headers["etag"]})
        assert (status, content) == (304, b""), path


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/run/nosuchrun/since", "no such run"),
        ("/api/run/{run}/probe/7/features", "no probe at step 7"),
        ("/api/run/{run}/probe/200/pca?anchor=3", "no probe at step 3"),
        ("/static/lab/nosuch.js", "has no file"),
    ],
)
def test_what_is_not_there_is_a_sentence(lab: Lab, path: str, sentence: str) -> None:
    status, content, _ = lab.get(path.format(run=lab.id_of("run_v1")))
    assert status == 404
    assert sentence in json.loads(content)["error"]


def test_the_page_comes_whatever_stands_in_its_address(lab: Lab) -> None:
    status, plain, _ = lab.get("/")
    assert status == 200
    assert lab.get("/?page=gram&deep_link=x&view=nowhere")[:2] == (200, plain), "Gradio reads neither word"


def test_the_page_comes_with_the_list_of_runs(lab: Lab) -> None:
    page = lab.get("/")[1].decode()
    found = re.findall(r'<script type="application/json" data-answers="api/runs">(.*?)</script>', page)
    assert [json.loads(one) for one in found] == [lab.json("/api/runs")]
    assert "<img src=x" not in page, "a run's name is no markup"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_header_is_refused(lab: Lab, host: str) -> None:
    for path in ("/", "/api/runs", "/static/plotly.min.js", "/config"):
        assert lab.get(path, Host=host)[0] == 400, path


@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_this_machine_is_known_by_its_names(lab: Lab, host: str) -> None:
    assert lab.get("/api/runs", Host=host)[0] == 200


def test_hosts_are_read_with_ports_and_brackets() -> None:
    assert host_of("[::1]:7860") == "::1"
    assert host_of("::1") == "::1"
    assert host_of("Localhost:80") == "localhost"
    assert host_of("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/static/lab/../../apps/server.py", "/static/lab/%2e%2e/%2e%2e/pyproject.toml", "/static/lab/..%2f__init__.py",
        "/api/run/..%2f..%2fsecret/since", "/api/run/../../secret/since", "/api/run/{run}/probe/..%2f..%2f/features",
        "/api/run/{run}/../../secret/config", "/gradio_api/file=/etc/passwd", "/gradio_api/file={folder}/secret/run.json",
        "/gradio_api/file={folder}/runs/run_v1/run.json", "/file={folder}/runs/run_v1/run.json",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(lab: Lab, path: str) -> None:
    status, content, _ = lab.get(path.format(run=lab.id_of("run_v1"), folder=lab.folder))
    assert status >= 400, path
    for leak in (b"root:", b'"secret"', b"[project]", b"def build", b"versions"):
        assert leak not in content, path


def test_a_run_outside_that_is_linked_into_is_named_by_its_place_and_reads_only_itself(lab: Lab) -> None:
    run = lab.folder / "runs" / "linked"
    shutil.copytree(GOLDEN, run)
    outside = lab.folder / "outside.safetensors"
    outside.write_bytes((GOLDEN / "probes/step_00000200/tensors.safetensors").read_bytes())
    inner = run / "probes/step_00000200/tensors.safetensors"
    inner.unlink()
    inner.symlink_to(outside)
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "name": "linked"}))
    import time

    time.sleep(2.2)
    assert lab.json(f"/api/run/{lab.id_of('linked')}/since")["head"]["probes"] == [0, 500]
    status, content, _ = lab.get(f"/api/run/{lab.id_of('linked')}/probe/200/attention")
    assert (status, b"has no probe at step 200" in content) == (404, True), content[:200]
    shutil.rmtree(run)


def test_answers_carry_a_policy_that_keeps_the_browser_here(lab: Lab) -> None:
    headers = lab.get("/")[2]
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in lab.get("/api/runs", Origin="http://evil.example")[2]


def test_a_runs_name_is_data_in_every_answer(lab: Lab) -> None:
    status, _content, headers = lab.get("/api/runs")
    assert status == 200
    assert headers["content-type"].startswith("application/json")
    assert EVIL.encode() not in lab.get("/")[1]


def test_the_server_holds_no_torch_and_stays_small(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "runs" / "run_v1")
    code = """
import sys, pathlib
from fastapi.testclient import TestClient
from apps.server import build
app = build([pathlib.Path(sys.argv[1])])
client = TestClient(app, base_url="http://127.0.0.1")
run = client.get("/api/runs").json()["runs"][0]["id"]
for path in ("/", f"/api/run/{run}/since", f"/api/run/{run}/images", f"/api/run/{run}/probe/200/pca",
             f"/api/run/{run}/probe/200/features", f"/api/run/{run}/probe/200/attention"):
    assert client.get(path).status_code == 200, path
heavy = [name for name in ("torch", "torchvision", "timm", "matplotlib", "plotly", "umap") if name in sys.modules]
assert not heavy, heavy
import psutil
print(psutil.Process().memory_info().rss >> 20)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 250


# ---- dino-lab watch


def test_a_taken_port_is_a_sentence_with_the_next_free_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert watch.main([str(tmp_path), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} is taken" in said
    assert "--port" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["--port", "99999"], "expected 1 to 65535"),
        (["--host", "no.such.host.invalid"], "is no address of this machine"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert watch.main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_help_answers_without_gradio() -> None:
    code = "import sys; from apps import watch\ntry: watch.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'gradio', 'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert "--port" in done.stdout
