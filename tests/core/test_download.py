"""Weights come over the network once, go on after a break, and appear whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dino_core.errors import CheckpointError
from dino_core.model import PRESETS, load_backbone
from dino_core.model import download as download_module
from dino_core.model.download import download
from tests import published

CONTENT = bytes(range(256)) * 5000


class Server:
    """Serves one file; may break off, ignore ranges, or send a page instead."""

    def __init__(self) -> None:
        self.content, self.kind, self.ranges = CONTENT, "application/octet-stream", True
        self.breaks_after: int | None = None
        self.asked: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                server.asked.append(asked)
                start = int(asked[6:-1]) if asked and server.ranges else 0
                if start > len(server.content):
                    self.send_error(416)
                    return
                body = server.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", server.kind)
                self.end_headers()
                self.wfile.write(body if server.breaks_after is None else body[: server.breaks_after])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/weights.pth"


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def test_a_download_that_broke_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    path, server.breaks_after = tmp_path / "weights.pth", 300_000
    for _ in range(2):
        with pytest.raises((OSError, download_module.HTTPException)):
            download(server.url, path)
        assert not path.exists()
    got = (tmp_path / "weights.pth.part").stat().st_size
    assert 0 < got < len(CONTENT)
    server.breaks_after = None
    download(server.url, path)
    assert server.asked[-1] == f"bytes={got}-"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


def test_a_server_that_knows_no_ranges_is_asked_for_all_of_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(b"x" * 1000)
    server.ranges = False
    download(server.url, tmp_path / "weights.pth")
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT


def test_what_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(b"x" * (len(CONTENT) + 1))
    download(server.url, tmp_path / "weights.pth")
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT


def test_an_official_file_is_downloaded_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses
    import io

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(PRESETS, "dino_vits16", dataclasses.replace(PRESETS["dino_vits16"], url=server.url))
    buffer, tensors = io.BytesIO(), published.dino()
    torch.save(tensors, buffer)
    server.content = buffer.getvalue()
    images = torch.randn(1, 3, 32, 32)
    for _ in range(2):
        cls = load_backbone("dino_vits16", heads=2)(images).cls
        torch.testing.assert_close(cls, published.vit(tensors, images).tokens[:, 0], rtol=1e-4, atol=1e-5)
    assert len(server.asked) == 1
    assert (tmp_path / "checkpoints" / "weights.pth").is_file()


def test_a_page_instead_of_weights_and_a_dead_server_say_where_to_put_the_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    server.kind = "text/html"
    place = rf"download it where there is internet and save it as {tmp_path}/checkpoints/weights.pth"
    with pytest.raises(CheckpointError, match=rf"sent a page instead of the file.*{place}"):
        download_module._fetched(server.url)
    with pytest.raises(CheckpointError, match=rf"can't be downloaded.*{place}"):
        download_module._fetched(server.url.replace("127.0.0.1", "127.0.0.1:1").rsplit(":", 1)[0] + "/weights.pth")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_shards_in_the_hubs_cache_are_found_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(download_module, "_reachable", lambda url: False)
    cached = tmp_path / "models--someone--large"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abcd")
    (folder := cached / "snapshots" / "0123abcd").mkdir(parents=True)
    tensors = published.dinov3()
    halves = [dict(list(tensors.items())[start::2]) for start in (0, 1)]
    for i, half in enumerate(halves):
        save_file(half, folder / f"model-{i}.safetensors")
    index = {key: f"model-{i}.safetensors" for i, half in enumerate(halves) for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    images = torch.randn(1, 3, 32, 32)
    cls = load_backbone("hf:someone/large")(images).cls
    torch.testing.assert_close(cls, published.vit(tensors, images).tokens[:, 0], rtol=1e-4, atol=1e-5)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights of someone/large here"):
        load_backbone("hf:someone/large")
