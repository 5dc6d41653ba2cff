"""Many images through any network: what pages are answered is what the networks say, made in parts that are kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load

from dino_core.errors import DataError, RunError
from dino_core.model import load_backbone, load_head, load_teacher
from dino_core.objective.terms import cross_view
from lab import cache, crowd, eyes, gathered, gathering, pictures, sight
from lab.analysis import layout, objective, prototypes
from lab.answers import House
from lab.background import background
from lab.shelf import Shelf
from lab.worker import Worker, _answered
from tests.core.test_published_head import PROTOTYPES, full_checkpoint

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
FLOOR = "random:vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A lab with a run, a folder of two classes with one broken file, a full checkpoint and an untrained network."""
    root = tmp_path_factory.mktemp("gathered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINO_LAB_CACHE", str(root / "cache"))
        shutil.copytree(GOLDEN, root / "runs" / "run_v1")
        random = np.random.default_rng(0)
        for name in ("fish", "tree"):
            (root / "photos" / name).mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, 255, (40, 48, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / "photos" / name / f"{i}.png")
        (root / "photos" / "fish" / "2.png").write_bytes(b"no image")
        built = House(Shelf([root / "runs"]), Here())
        background(built).worker = Here()
        about = sight.given(built)
        about.folders = [root / "photos"]
        about.models = sight.named([str(full_checkpoint(root / "full.pth")), FLOOR])
        yield built
        built.close()


class Here(Worker):
    """The worker's answers without its process."""

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = _answered(question)
        if "error" in answer:
            raise RunError(answer["error"])
        return answer


def ask(house: House, path: str, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    until = time.monotonic() + 240
    while time.monotonic() < until:
        made = house.ask(path, {name: str(value) for name, value in values.items()}).make()
        if isinstance(made, bytes):
            length = int.from_bytes(made[:8], "little")
            return load(made), json.loads(json.loads(made[8 : 8 + length])["__metadata__"]["said"])
        assert "waiting" in made
        time.sleep(0.05)
    raise AssertionError("it never came")


def seen_by_hand(house: House, side: int) -> torch.Tensor:
    """The folder's images as the full checkpoint wants them."""
    files = [
        file for file in pictures.files_of(sight.given(house).folders[0]) if file.name != "2.png" or "tree" in str(file)
    ]
    images = np.stack(
        [np.asarray(Image.open(f).crop((4, 0, 44, 40)).resize((side, side), Image.Resampling.BICUBIC)) for f in files]
    )
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in eyes.IMAGENET)
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


def test_a_published_network_with_a_head_answers_for_a_folder(house: House) -> None:
    values = {"source": "model:full", "images": "folder:0", "count": 300, "size": 32}
    small, about = ask(house, "gathered/pictures", images="folder:0", count=300)
    assert about["classes"] == ["fish", "tree"]
    assert small["labels"].tolist() == [0] * 3 + [1] * 4, "the broken one is left out"
    answers, said = ask(house, "gathered/answers", **values)
    path = sight.given(house).models["full"]
    head = load_head(path)
    with torch.inference_mode():
        cls = load_backbone(path)(seen_by_hand(house, 32)).cls
        logits = head.head(cls).numpy()
    assert head.centre is not None
    expected = prototypes.answers(logits, 0.07, head.centre.numpy())
    assert answers["entropy"] == pytest.approx(prototypes.entropy(expected), abs=1e-3)
    assert answers["top"][:, 0].tolist() == expected.argmax(1).tolist()
    assert (said["prototypes"], said["centred"], said["why"]) == (PROTOTYPES, True, "")
    assert said["temperature"] == pytest.approx(0.07)
    points, about = ask(house, "gathered/layout", **values, anchor="model:full")
    assert points["xy"] == pytest.approx(layout.principal(cls.numpy().astype(float)), abs=2e-2)
    assert points["image"].tolist() == list(range(7))
    assert about == {"step": None, "anchor": None}
    placed, _ = ask(house, "gathered/layout", **values, anchor="model:full", method="tsne")
    assert placed["xy"] == pytest.approx(points["xy"], abs=1e-3), "of so few the plane is that of PCA"
    rows, _ = ask(house, "gathered/vectors", **values, tokens="patches")
    assert len(rows["rows"]) == 7 * 6


def test_a_network_without_a_head_says_why_it_names_no_prototypes(house: House) -> None:
    answers, said = ask(house, "gathered/answers", source=f"model:{FLOOR}", images="folder:0", count=300, size=32)
    assert "top" not in answers
    assert said["why"] == f"{FLOOR} is a backbone alone, which has no prototypes; a full checkpoint of DINO has"
    assert said["images"] == 7


def test_a_runs_checkpoint_is_shown_other_images_and_turned_towards_another(house: House) -> None:
    (listed,) = house.shelf.listing()
    run = house.shelf.run(listed["id"])
    values = {"images": "folder:0", "count": 300}
    sources = [f"run:{listed['id']}:{step}:teacher" for step in (200, 500)]
    answers, said = ask(house, "gathered/answers", source=sources[0], **values)
    network = load_teacher(run.checkpoint_folder(200))
    side = run.probe_images.images.shape[-1]
    with torch.inference_mode():
        cls = network.backbone(seen_by_hand(house, side)).cls
        logits = network.head(cls).numpy()
    expected = prototypes.answers(
        logits, crowd.temperature(run, 200), crowd.centres(run.checkpoint_folder(200))["centre"]
    )
    assert said["step"] == 200
    assert answers["entropy"] == pytest.approx(prototypes.entropy(expected), abs=2e-3)
    points, about = ask(house, "gathered/layout", source=sources[0], anchor=sources[1], **values)
    anchor, _ = ask(house, "gathered/layout", source=sources[1], anchor=sources[1], **values)
    own = layout.principal(cls.numpy().astype(float))
    assert points["xy"] == pytest.approx(layout.align(own, anchor["xy"].astype(float)), abs=3e-2)
    assert about == {"step": 200, "anchor": 500}
    with pytest.raises(RunError, match="move the clock to a checkpoint"):
        house.ask("gathered/answers", {"source": f"run:{listed['id']}:0:teacher", "images": "folder:0", "count": "300"})


def test_images_handed_in_are_seen_and_written_nowhere(house: House) -> None:
    buffer = np.random.default_rng(3).integers(0, 255, (3, 40, 40, 3)).astype(np.uint8)
    name = sight.given(house).sets.put(pictures.Pictures(buffer, ("a", "b", "c")))
    before = {file for file in cache.folder().rglob("*") if file.is_file()}
    values = {"source": "model:full", "images": f"set:{name}", "size": 32}
    points, _ = ask(house, "gathered/layout", **values, anchor="model:full")
    assert points["xy"].shape == (3, 2)
    assert ask(house, "gathered/pictures", images=f"set:{name}")[0]["images"].shape[0] == 3
    assert {file for file in cache.folder().rglob("*") if file.is_file()} == before
    with pytest.raises(RunError, match="laid out by PCA"):
        house.ask(
            "gathered/layout", {**{k: str(v) for k, v in values.items()}, "anchor": "model:full", "method": "umap"}
        )
    for images, count in (("folder:7", "300"), ("folder:0", "17"), ("folder:0", "0"), ("other:x", "300")):
        with pytest.raises(DataError, match=r"no folder|expected one of|are no images"):
            house.ask("gathered/pictures", {"images": images, "count": count})


def test_what_takes_long_is_made_in_parts_that_stay_when_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "PART", 4)
    monkeypatch.setattr(gathering, "SLICE", -1.0)
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path))
    made: list[int] = []

    def make(first: int, last: int, tell: gathering.Tell) -> dict[str, np.ndarray]:
        made.append(first)
        tell(last)
        return {"rows": np.arange(first, last, dtype=np.int32)}

    entry = cache.entry("gathered", "made")
    assert gathering.in_parts(entry, 10, "", make) is None
    assert gathering.in_parts(entry, 10, "", make) is None
    whole = gathering.in_parts(entry, 10, "", make)
    assert whole is not None
    assert whole["rows"].tolist() == list(range(10))
    assert made == [0, 4, 8], "no part twice"
    gathering.kept(entry, whole, 10)
    assert [file.name for file in entry.parent.glob("*.safetensors")] == [entry.name]
    assert "image 10 of 10" in entry.with_suffix(".progress").read_text()
    with pytest.raises(DataError, match="none of these images"):
        gathering.in_parts(cache.entry("gathered", "none"), 4, "", lambda first, last, tell: {"rows": np.zeros((0, 2))})


def test_more_to_do_goes_on_while_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path))
    asked: list[int] = []

    class Slow(Worker):
        def ask(self, question: dict[str, Any]) -> dict[str, Any]:
            asked.append(1)
            if len(asked) < 3:
                return {"more": True}
            cache.store(Path(question["entry"]), {"done": np.ones(1)})
            return {}

    house = House(Shelf([]), Worker())
    background(house).worker = Slow()
    entry, until = cache.entry("slow", "one"), time.monotonic() + 60
    while not isinstance(found := background(house).get(entry, {}), dict):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert found["done"].tolist() == [1]
    assert len(asked) == 3


def test_a_full_checkpoint_is_taken_apart_like_a_runs_step(house: House) -> None:
    arrays, said = ask(house, "stages", source="model:full", images="folder:0", image=1, seed=2)
    assert (said["has_student"], said["step"]) == (True, None)
    assert (arrays["student"].shape, arrays["teacher"].shape) == ((10, PROTOTYPES), (2, PROTOTYPES))
    found = objective.stages(arrays["student"], arrays["teacher"], arrays["centre"], 0.07, 0.1)
    assert found.loss == pytest.approx(said["loss"], rel=1e-4)
    targets = ((torch.from_numpy(arrays["teacher"]) - torch.from_numpy(arrays["centre"])) / 0.07).softmax(-1)
    assert cross_view(torch.from_numpy(arrays["student"])[:, None], targets[:, None], 0.1).item() == pytest.approx(
        said["loss"], rel=1e-4
    )
    with pytest.raises(RunError, match="backbone alone"):
        ask(house, "stages", source=f"model:{FLOOR}", images="folder:0")
    assert gathered.network(house, "model:full").run is None
