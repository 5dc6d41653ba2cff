"""What travels to the browser, what is cached, and the process that computes it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from dino_core.errors import RunError
from lab import Run, cache, frames
from lab.analysis import pca, similarity
from lab.worker import Worker

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def said(content: bytes) -> dict:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["said"])


def test_features_travel_as_eight_bits() -> None:
    probe = Run(GOLDEN).probe(200)
    content = frames.features(probe)
    tensors = load(content)
    assert len(content) < probe.patches.nbytes
    rough = tensors["patches"] * tensors["scale"][..., None].astype(np.float64)
    assert rough == pytest.approx(similarity.normalised(probe.patches.astype(np.float64)), abs=0.01)
    assert said(content)["rows"] == 4


def test_a_class_that_asks_at_once_has_components_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, fit = [], pca.fit
    monkeypatch.setattr(pca, "fit", lambda *asked: (fits.append(len(asked)), time.sleep(0.01), fit(*asked))[-1])
    frames._scores.cache_clear()
    run = Run(GOLDEN)
    ask = lambda _: frames.components(run, 200, 200, "joint", only_foreground=False)  # noqa: E731
    with ThreadPoolExecutor(8) as people:
        answers = set(people.map(ask, range(8)))
    assert len(answers) == len(fits) == 1


def test_images_travel_pixel_by_pixel() -> None:
    shown = Run(GOLDEN).probe_images
    tensors = load(frames.images(shown))
    assert (tensors["images"].transpose(0, 3, 1, 2) == shown.images).all()
    assert tensors["masks"].max() == 1


@pytest.mark.parametrize("mode", ["joint", "image"])
@pytest.mark.parametrize("only_foreground", [False, True])
def test_components_of_the_anchor_are_its_own_and_others_turn_towards_it(
    mode: frames.Mode, only_foreground: bool
) -> None:
    run = Run(GOLDEN)
    own = load(frames.components(run, 500, 500, mode, only_foreground=only_foreground))
    other = load(frames.components(run, 200, 500, mode, only_foreground=only_foreground))
    plain = load(frames.components(run, 200, 200, mode, only_foreground=only_foreground))
    assert own["scores"].shape == (4, 16, 3)
    assert np.isfinite(other["scores"]).all()
    distance = np.linalg.norm(other["scores"] - own["scores"])
    assert distance <= np.linalg.norm(plain["scores"] - own["scores"]) + 1e-4


def test_joint_components_are_the_projection_in_units_of_its_spread() -> None:
    run = Run(GOLDEN)
    tensors = load(frames.components(run, 200, 200, "joint", only_foreground=False))
    scores = pca.project(run.probe(200).patches.astype(np.float32), 3)
    assert tensors["scores"] == pytest.approx(scores / scores.std((0, 1)), abs=1e-4)
    mask, _ = pca.foreground(scores[..., 0], (4, 4))
    assert ((tensors["above"] > 0) == mask).all()


def test_an_entry_is_kept_by_content_and_found_again(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100)
    first = cache.entry("attention", cache.fingerprint(file), 3)
    assert cache.load(first) is None
    cache.store(first, {"x": np.arange(3.0)})
    (tmp_path / "moved").write_bytes(b"a" * 100)
    again = cache.load(cache.entry("attention", cache.fingerprint(tmp_path / "moved"), 3))
    assert again is not None
    assert again["x"].tolist() == [0, 1, 2]
    file.write_bytes(b"b" * 100)
    assert cache.load(cache.entry("attention", cache.fingerprint(file), 3)) is None
    first.write_bytes(b"broken")
    assert cache.load(first) is None
    assert own_cache in first.parents


def test_large_files_are_known_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WHOLE", 10)
    monkeypatch.setattr(cache, "SAMPLE", 4)
    file = tmp_path / "weights"
    content = bytearray(os.urandom(1000))
    file.write_bytes(content)
    before = cache.fingerprint(file)
    content[-1] ^= 1
    file.write_bytes(content)
    assert cache.fingerprint(file) != before


def test_the_cache_gives_up_what_was_unused_for_longest() -> None:
    entries = [cache.entry("attention", str(number)) for number in range(4)]
    for age, file in enumerate(entries):
        cache.store(file, {"x": np.zeros(1000)})
        os.utime(file, (time.time() - 100 + age, time.time() - 100 + age))
    assert cache.load(entries[0]) is not None, "read now, so it is the youngest"
    cache.shrink(largest=2 * entries[0].stat().st_size)
    assert [file.exists() for file in entries] == [True, False, False, True]


# ---- the worker


@pytest.mark.slow
def test_the_worker_computes_any_layer_and_the_last_is_what_the_probe_holds(tmp_path: Path, small_run: Path) -> None:
    run, worker = Run(small_run), Worker(idle=20.0)
    try:
        step = run.checkpoints[-1]
        depth = run.config.backbone.depth
        last = worker.attention(run, step, depth - 1)
        assert last == pytest.approx(run.probe(step).attention.astype(np.float32), abs=2e-3)
        first = worker.attention(run, step, 0)
        assert first.shape == last.shape
        assert not np.allclose(first, last, atol=1e-3)
        process = worker._process
        assert worker.attention(run, step, 0) == pytest.approx(first)
        assert worker._process is process
        with pytest.raises(RunError, match=r"there is no layer 99"):
            worker.attention(run, step, 99)
        assert worker.alive, "a question without an answer does not end it"
        process.kill()
        process.wait()
        shutil.rmtree(cache.folder())
        assert worker.attention(run, step, 0) == pytest.approx(first), "one that died is started again"
    finally:
        worker.close()
    assert not worker.alive


@pytest.mark.slow
def test_the_worker_ends_when_nobody_asks() -> None:
    worker = Worker(idle=0.5)
    with pytest.raises(RunError, match="attention of layer"):
        worker.ask({"do": "attention", "run": str(GOLDEN), "step": 3, "layer": 0, "entry": "x"})
    until = time.monotonic() + 30
    while worker.alive and time.monotonic() < until:
        time.sleep(0.1)
    assert not worker.alive
    worker.close()


def test_a_worker_that_was_never_asked_is_no_process() -> None:
    worker = Worker()
    assert not worker.alive
    worker.close()
