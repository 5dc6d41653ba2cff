"""What the lab refuses, and that many may ask at once."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import pickle
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from apps import watch
from apps.server import LARGEST_BODY, build
from lab import notes, telling
from lab.shelf import Shelf
from tests.apps.growing import Growing
from tests.apps.served import serving

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
EVIL = "<script>document.title='owned'</script>"
PATIENCE = 60.0


class Harm:
    """What a pickle may ask whoever opens it to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("safe")
    os.environ["DINO_LAB_CACHE"] = str(root / "cache")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    with TestClient(build([root / "runs"]), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client
    del os.environ["DINO_LAB_CACHE"]


def run_of(client: TestClient, name: str = "run_v1", **headers: str) -> str:
    return next(r["id"] for r in client.get("/api/runs", headers=headers).json()["runs"] if r["name"] == name)


# ---- who may ask


def test_a_foreign_page_can_hand_in_nothing(client: TestClient) -> None:
    path = f"/api/run/{run_of(client)}/notes"
    body = json.dumps({"step": 1, "text": "from elsewhere"})
    for origin in ("http://evil.example", "http://127.0.0.1.evil.example", "https://localhost:1", "null"):
        answer = client.post(path, content=body, headers={"Origin": origin})
        assert answer.status_code == 404, origin
        assert "takes nothing from the pages of others" in answer.json()["error"]
    assert client.post(path, content=body, headers={"Host": "evil.example"}).status_code == 400
    assert client.get(path).json()["notes"] == []
    assert client.post(path, content=body, headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_what_is_handed_in_is_bounded_whatever_its_header_claims(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range((LARGEST_BODY >> 20) + 2):
            yield b"x" * 2**20

    answer = client.post(f"/api/run/{run_of(client)}/notes", content=endless())
    assert answer.status_code == 404
    assert "the most this lab takes at once" in answer.json()["error"]


def test_a_lab_with_a_password_answers_nobody_else(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "run_v1")
    client = TestClient(build([tmp_path], password="möwe"), base_url="http://127.0.0.1")

    def asked(word: bytes, path: str = "/api/runs") -> int:
        return client.get(path, headers={"Authorization": "Basic " + base64.b64encode(word).decode()}).status_code

    for path in ("/", "/api/runs", "/static/lab/page.js", "/config"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert b"run_v1" not in answer.content
    assert [asked(word) for word in (b"anna:wrong", b"anna:", b"m\xc3\xb6we", b"anna:m\xf6we")] == [401] * 4
    assert client.get("/api/runs", headers={"Authorization": "Basic ///"}).status_code == 401
    right = base64.b64encode("anna:möwe".encode()).decode()
    assert client.get("/api/runs", headers={"Authorization": f"Bearer {right}"}).status_code == 401
    assert asked("anna:möwe".encode()) == asked("anyone:möwe".encode(), "/") == 200


def test_a_read_only_lab_takes_nothing(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "run_v1")
    client = TestClient(build([tmp_path], read_only=True), base_url="http://127.0.0.1")
    run = run_of(client)
    for path, body in (
        (f"run/{run}/notes", {"step": 1, "text": "hm"}), (f"run/{run}/fork/200/start", {"changes": {}}),
        (f"run/{run}/stop", {}), (f"run/{run}/resume", {}), ("film?sizes=2", {}),
    ):  # fmt: skip
        answer = client.post(f"/api/{path}", json=body)
        assert answer.status_code == 404
        assert "read-only" in answer.json()["error"]
    assert {file.name for file in tmp_path.iterdir()} == {"run_v1"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--password"], "no password was given"),
        (["--tell", "ftp://somewhere"], "is no address to tell"),
        (["--notes", "run_v1/notes.jsonl"], "never kept inside a run"),
        (["--notes", "nowhere/notes.jsonl"], "can't be a file of notes"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(GOLDEN, tmp_path / "run_v1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DINO_LAB_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody is there to ask
    assert watch.main([".", *arguments]) == 2
    assert sentence in capsys.readouterr().err


# ---- what runs may hold


def test_a_run_that_means_harm_executes_nothing_and_costs_a_sentence(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    done = tmp_path / "done"
    bad = tmp_path / "runs" / "bad"
    shutil.copytree(GOLDEN, bad)
    about = json.loads((bad / "run.json").read_text())
    (bad / "run.json").write_text(json.dumps({**about, "name": EVIL, "recipe": EVIL, "classes": [EVIL]}))
    harm = pickle.dumps(Harm(done))
    (bad / "checkpoints/step_00000200/teacher.safetensors").write_bytes(harm)
    (bad / "checkpoints/step_00000500/teacher.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    (bad / "probes/step_00000200/tensors.safetensors").write_bytes(harm)
    (bad / "probes/step_00000500/tensors.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"[" * 99)
    (bad / "config.json").write_text("[" * 100_000)
    secret = tmp_path / "secret.safetensors"
    shutil.copy(GOLDEN / "probes/images.safetensors", secret)
    (bad / "probes/images.safetensors").unlink()
    (bad / "probes/images.safetensors").symlink_to(secret)
    shutil.copytree(GOLDEN, tmp_path / "runs" / "good")
    for name, content in {
        "deep": "[" * 100_000,
        "list": "[1]",
        "odd": '{"format": 1, "name": ["x"], "steps": "many"}',
    }.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.json").write_text(content)
    with TestClient(build([tmp_path / "runs"]), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        run = run_of(client, EVIL)
        for path in (
            "since", "config", "images", "probe/200/features", "probe/500/features", "probe/200/pca", "probe/500/attention",
            "probe/200/attention?layer=0", "stages/200", "stages/500", "form/200", "compare/" + run,
        ):  # fmt: skip
            answer = client.get(f"/api/run/{run}/{path}")
            assert answer.status_code in (200, 404), (path, answer.status_code, answer.text)
            if path != "since":
                assert answer.status_code == 404, path
                assert 20 < len(answer.json()["error"]) < 900, path
            assert answer.headers["content-type"].startswith("application/json")
        assert client.get(f"/api/run/{run_of(client)}/since").status_code == 200
        assert EVIL.encode() not in client.get("/").content
    assert not done.exists()


def test_twenty_people_at_once_get_answers(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "runs" / "run_v1")
    with serving(tmp_path / "runs", tmp_path / "cache") as (address, _):
        host = address.removeprefix("http://")

        def one(_: int) -> list[int]:
            connection = http.client.HTTPConnection(host, timeout=120)
            found = []
            for path in ("/", "/api/runs", "/api/run/{}/since", "/api/run/{}/images", "/api/run/{}/probe/500/pca",
                         "/api/run/{}/probe/200/attention?layer=0", "/static/lab/page.js"):  # fmt: skip
                connection.request("GET", path.format(run))
                answer = connection.getresponse()
                found.append(answer.status)
                content = answer.read()
                if path == "/api/runs":
                    run_found = json.loads(content)["runs"][0]["id"]
                    assert run_found == run
            return found

        first = http.client.HTTPConnection(host, timeout=120)
        first.request("GET", "/api/runs")
        run = json.loads(first.getresponse().read())["runs"][0]["id"]
        with ThreadPoolExecutor(20) as people:
            answers = list(people.map(one, range(20)))
        assert answers == [[200] * 7] * 20


# ---- notes, and telling


def test_notes_are_kept_beside_the_lab_and_forgotten_when_asked(client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    notes.add(file, "a", "run", 30, "the loss jumps")
    notes.add(file, "a", "run", 10, f"<b>{EVIL}</b>")
    notes.add(file, "b", "other", 5, "elsewhere")
    with open(file, "a") as stream:
        stream.write('{"run": "a", "torn')
    kept = notes.read(file, "a")
    assert [note["step"] for note in kept] == [10, 30]
    notes.remove(file, kept[0]["id"])
    assert [note["text"] for note in notes.read(file, "a")] == ["the loss jumps"]
    run = run_of(client)
    for body in (
        {"step": -1, "text": "x"},
        {"step": 1, "text": " "},
        {"step": 1, "text": "x" * 401},
        {"step": "1"},
        [1],
    ):
        assert client.post(f"/api/run/{run}/notes", json=body).status_code == 404, body


def test_configs_are_compared_by_option(client: TestClient) -> None:
    run = run_of(client)
    assert client.get(f"/api/run/{run}/compare/{run}").json() == {"differs": {}}


def test_an_address_is_told_once_of_a_new_trouble_and_of_no_old_one(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def trouble(run: Growing, name: str) -> None:
        run.writer.event("diagnosis", run.step, name=name, level="trouble", sentence="All answers are alike.")

    old, new = Growing(tmp_path / "old"), Growing(tmp_path / "new")
    for run in (old, new):
        run.log(2)
    trouble(old, "uniform_collapse")
    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    teller = telling.Telling(Shelf([tmp_path]), f"http://127.0.0.1:{server.server_port}/hook", every=0.05)
    assert teller.look() == []
    teller.start()
    trouble(new, "prototype_collapse")
    until = time.monotonic() + PATIENCE
    while not heard and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.4)
    teller.stop()
    server.shutdown()
    for run in (old, new):
        run.writer.close()
    assert [message["finding"] for message in heard] == ["prototype_collapse"]
    assert heard[0]["text"] == "DINO lab: new at step 20: prototype collapse"
