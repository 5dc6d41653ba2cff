"""Sources and images by name, what is refused, and that what is handed in leaves no trace on disk."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from dino_core.errors import DataError, DinoError, RunError
from lab import cache, pictures, sight
from lab.answers import House, Unanswered
from lab.once import Turns
from lab.run import Run
from lab.shelf import Shelf
from lab.sight import Given
from lab.worker import Worker

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


def png(height: int = 40, width: int = 60, seed: int = 0, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for split in ("train", "train_mask"):
        (root / split / "cat").mkdir(parents=True)
    for number in range(3):
        (root / "train" / "cat" / f"{number}.png").write_bytes(png(seed=number))
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 20:40] = 255
        Image.fromarray(mask).save(root / "train_mask" / "cat" / f"{number}.png")
    (root / "train" / "broken.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def house(folder: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    broken = tmp_path_factory.mktemp("models") / "broken.pth"
    broken.write_bytes(b"not a file of weights")
    models = sight.named([str(broken), "random:vit_tiny_patch16_224", "nowhere/missing.pth"])
    worker = Worker(idle=30.0)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("DINO_LAB_DATA", str(folder / "train"))  # where torchvision's sets are on this machine
    yield House(
        Shelf([small_run.parent, GOLDEN.parent]), worker, more={"sight": Given(models=models, folders=[folder])}
    )
    monkeypatch.undo()
    worker.close()


def asked(house: House, path: str, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    content = house.ask(path, {key: str(value) for key, value in values.items()}).make()
    length = int.from_bytes(content[:8], "little")
    return load(content), json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["said"])


def test_features_of_a_runs_own_probe_need_no_worker(house: House) -> None:
    run = Run(GOLDEN)
    name = house.shelf.name_of(GOLDEN)
    for network in ("teacher", "student"):
        tensors, said = asked(
            house, "sight/features", source=f"run:{name}:{run.probes[0]}:{network}", images=f"probe:{name}"
        )
        stored = run.probe(run.probes[0]).read(f"{network}.patches").astype(np.float64)
        unit = stored / np.linalg.norm(stored, axis=-1, keepdims=True)
        assert tensors["patches"] * tensors["scale"][..., None] == pytest.approx(unit, abs=0.01)
        assert said["stored"]
        one, _ = asked(
            house, "sight/features", source=f"run:{name}:{run.probes[0]}:{network}", images=f"probe:{name}", image=1
        )
        assert (one["patches"] == tensors["patches"][1:2]).all()
    with pytest.raises(DataError, match="there is no image 99"):
        asked(house, "sight/features", source=f"run:{name}:0:teacher", images=f"probe:{name}", image=99)
    tensors, said = asked(house, "sight/heads", source=f"run:{name}:0:teacher", images=f"probe:{name}", image=1)
    assert tensors["maps"] == pytest.approx(run.probe(0).attention[1].astype(np.float32))
    assert not house.worker.alive


@pytest.mark.slow
def test_the_worker_sees_what_the_probe_stored_and_handed_in_images_leave_no_trace(
    house: House, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, name = Run(small_run), house.shelf.name_of(small_run)
    source, step = f"run:{name}:{run.checkpoints[-1]}:teacher", run.checkpoints[-1]
    tensors, said = asked(house, "sight/heads", source=source, images=f"probe:{name}", image=2)
    prefix = 1 + said["registers"]
    assert tensors["attention"][-1, :, prefix:] == pytest.approx(
        run.probe(step).attention[2].astype(np.float32), abs=2e-3
    )
    kept = sorted(cache.folder().rglob("*"))
    assert asked(house, "sight/heads", source=source, images=f"probe:{name}", image=2)[1] == said
    handed = house.tell("sight/images", png(), {}).make()["set"]
    mine, _ = asked(house, "sight/features", source=source, images=f"set:{handed}")
    again, _ = asked(house, "sight/features", source=source, images=f"set:{handed}")
    assert (mine["patches"] == again["patches"]).all()
    assert len(sight.given(house).memory) == 1
    assert sorted(cache.folder().rglob("*")) == kept, "nothing of what was handed in is on disk"
    larger, about = asked(house, "sight/features", source=source, images=f"set:{handed}", size=64)
    assert (about["rows"], larger["patches"].shape[1]) == (8, 64)
    questions: list[dict[str, Any]] = []
    monkeypatch.setattr(
        house.worker, "ask", lambda question: questions.append(question) or Worker.ask(house.worker, question)
    )
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: asked(house, "sight/heads", source=source, images=f"set:{handed}"), range(8)))
    assert len(questions) == 1, "what a class asks at once is computed once"
    assert all((tensors["attention"] == many[0][0]["attention"]).all() for tensors, _ in many)
    shown, _ = asked(house, "sight/images", images=f"set:{handed}")
    assert shown["images"].shape == (1, 40, 40, 3)
    untrained, about = asked(house, "sight/features", source="model:random:vit_tiny_patch16_224", images="folder:0")
    assert (about["rows"], untrained["patches"].shape) == (14, (3, 196, 192))
    for model in ("broken", "missing"):
        with pytest.raises(RunError, match=rf"{model}\.pth"):
            asked(house, "sight/features", source=f"model:{model}", images="folder:0")
    assert house.worker.alive, "a file that can't be read costs one sentence"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": "model:/etc/passwd"}, "was not given a model '/etc/passwd'"),
        ({"source": "run:x:1:teacher"}, "no such run"),
        ({"source": "elsewhere"}, "is no network; expected run:ID:STEP:teacher"),
        ({"images": "folder:7"}, "given 1 folders of images; there is no folder '7'"),
        ({"images": "folder:../.."}, "there is no folder '../..'"),
        ({"images": "file:/etc/passwd"}, "are no images; expected probe:RUN"),
        ({"images": "set:0123"}, "no longer held"),
        ({"size": "large"}, "size is 'large'; expected int"),
    ],
)
def test_what_is_not_there_costs_one_sentence(house: House, values: dict[str, str], sentence: str) -> None:
    name = house.shelf.name_of(GOLDEN)
    whole = {"source": f"run:{name}:500:teacher", "images": f"probe:{name}", **values}
    with pytest.raises((RunError, DataError, Unanswered), match=sentence.replace(".", r"\.")):
        asked(house, "sight/features", **whole)


def test_the_student_of_a_checkpoint_looks_at_any_image(house: House, small_run: Path) -> None:
    """Where training state was kept, the student sees what its own network sees, and not what the teacher sees."""
    from lab import eyes

    name, folder = house.shelf.name_of(small_run), Run(small_run).checkpoint_folder(12)
    seen, said = asked(house, "sight/features", source=f"run:{name}:12:student", images="folder:0")
    teacher, _ = asked(house, "sight/features", source=f"run:{name}:12:teacher", images="folder:0")
    eye = eyes.opened(str(folder), "as it is", "student")
    expected, about = eyes.features(eye, sight.shown(house, "folder:0").read().images, 0)
    assert np.abs(seen["patches"].astype(int) - expected["patches"]).max() <= 1
    assert (said["rows"], said["columns"]) == (about["rows"], about["columns"])
    assert np.abs(seen["patches"].astype(int) - teacher["patches"]).max() > 1


def test_images_of_the_data_set_are_the_same_whenever_asked(house: House, small_run: Path) -> None:
    from dino_core.data.sources import open_source
    from dino_core.evaluation.images import read_images

    run = Run(small_run)
    seen, _ = asked(house, "sight/images", images=f"data:{house.shelf.name_of(small_run)}")
    side = run.probe_images.images.shape[-1]
    expected = read_images(open_source(run.config.data), sight.OF_DATA, side)
    assert np.array_equal(seen["images"], expected.images.permute(0, 2, 3, 1).numpy())
    assert expected.masks is not None
    assert np.array_equal(seen["masks"], expected.masks.numpy())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("torchvision:ImageFolder", ""),
        ("torchvision:MNIST", "is not downloaded"),
        ("hf:nobody/nothing", "could not be loaded"),
        ("hf:SECRET", "which this lab was not given"),
        ("SECRET", "which this lab was not given"),
    ],
)
def test_data_sets_on_this_machine_are_shown_and_none_is_fetched(
    source: str, sentence: str, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN, tmp_path / "runs" / "named")
    (tmp_path / "secret").mkdir()
    config = tmp_path / "runs" / "named" / "config.json"
    said = json.loads(config.read_text())
    said["data"]["source"] = source.replace("SECRET", str(tmp_path / "secret"))
    config.write_text(json.dumps(said))
    monkeypatch.setattr(house.shelf, "folders", [*house.shelf.folders, tmp_path / "runs"])
    name = house.shelf.name_of(tmp_path / "runs" / "named")
    if sentence:
        with pytest.raises((RunError, DataError), match=sentence):
            asked(house, "sight/images", images=f"data:{name}")
    else:
        seen, _ = asked(house, "sight/images", images=f"data:{name}")
        assert len(seen["images"]) > 0


def test_a_student_is_only_there_where_the_run_stored_it(house: House) -> None:
    name = house.shelf.name_of(GOLDEN)
    with pytest.raises(RunError, match="keeps its student of step 200 only at its probes"):
        asked(house, "sight/features", source=f"run:{name}:200:student", images="folder:0")
    own = {"source": f"run:{name}:0:teacher", "images": f"probe:{name}"}
    with pytest.raises(RunError, match=r"step 0 kept answers to its probe images alone.* kept at steps 200, 500\."):
        house.ask("compare/layers", own | {"against": own["source"]}).make()
    with pytest.raises(RunError, match="neither a checkpoint nor a probe at step 77"):
        asked(house, "sight/features", source=f"run:{name}:77:teacher", images=f"probe:{name}")


def test_a_folder_shows_its_images_and_the_objects_masks(house: House) -> None:
    tensors, said = asked(house, "sight/images", images="folder:0")
    assert said["names"] == ["0", "1", "2"], "the broken one is left out"
    assert tensors["images"].shape == (3, 40, 40, 3)
    expected = np.zeros((40, 40), bool)
    expected[10:30, 10:30] = True  # the middle of 60 columns
    assert (tensors["masks"].astype(bool) == expected).all()
    assert asked_offer(house)["folders"][0]["count"] == 4


def test_code_is_told_where_runs_models_and_folders_are_but_no_class_is(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, places = house.shelf.name_of(GOLDEN), lambda: house.ask("sight/places").make()
    assert house.ask(f"run/{name}/place").make() == {"place": str(GOLDEN)}, "a name alone leads to it from nowhere"
    assert places()["folders"] == [str(folder)]
    assert Path(places()["models"]["broken"]).is_file()
    monkeypatch.setattr(house, "read_only", True)
    assert house.ask(f"run/{name}/place").make() == {"place": GOLDEN.name}
    assert str(folder) not in str(places())
    assert places()["models"]["broken"] == "broken"


def asked_offer(house: House) -> dict[str, Any]:
    return house.ask("sight").make()


def test_links_that_lead_out_of_a_folder_are_not_followed(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "own.png").write_bytes(png())
    (tmp_path / "given" / "away.png").symlink_to(folder / "train" / "cat" / "0.png")
    assert [file.name for file in pictures.of_folder(tmp_path / "given")] == ["own.png"]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("body", "sizes", "sentence"),
    [
        (SVG, [], "is no image this lab opens"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", [], "is no image this lab opens"),
        (png()[:200], [], "image 1"),
        (png(), [3], "add up to 3"),
        (png() * 2, [len(png()), -1, len(png()) + 1], "add up to|bytes came"),
        (b"x" * 30, [1] * 30, "those are 30 images; the lab takes up to 24"),
        (b"", [], "add up to 0"),
        (bytes(pictures.MOST_BYTES + 1), [], "takes up to 24 MiB at once"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(body: bytes, sizes: list[int], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        pictures.handed_in(body, sizes)


def test_an_image_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    content = io.BytesIO()
    Image.new("1", (9000, 9000)).save(content, "PNG")
    assert len(content.getvalue()) < 20_000
    with pytest.raises(DataError, match="9000×9000 pixels; the lab takes up to 50 million"):
        pictures.handed_in(content.getvalue())


def test_several_files_and_the_frames_of_an_animation_become_one_set() -> None:
    first, second = png(32, 32), png(64, 48, kind="JPEG")
    together = pictures.handed_in(first + second, [len(first), len(second)], video=True)
    assert together.images.shape == (2, 48, 48, 3)
    assert (together.names, together.video) == (("frame 1", "frame 2"), True)
    content = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), (10 * n, 0, 0)) for n in range(7)]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    film = pictures.handed_in(content.getvalue())
    assert film.video
    assert film.images[:, 0, 0, 0].tolist() == pytest.approx([10 * n for n in range(7)], abs=4)


def test_sets_are_forgotten_when_newer_ones_need_their_room() -> None:
    sets = pictures.Sets(room=3 * 48 * 48 * 3)
    names = [sets.put(pictures.handed_in(png(48, 48, seed=seed))) for seed in range(3)]
    assert sets.get(names[0]).images.shape == (1, 48, 48, 3)
    names.append(sets.put(pictures.handed_in(png(48, 48, seed=9))))
    with pytest.raises(DataError, match="no longer held"):
        sets.get(names[1])
    assert sets.get(names[0]).digest == names[0], "used lately, so it stayed"


def test_a_read_only_lab_takes_nothing_unless_told_to() -> None:
    shelf, worker = Shelf([]), Worker()
    for house, takes in (
        (House(shelf, worker), True),
        (House(shelf, worker, read_only=True), False),
        (House(shelf, worker, read_only=True, more={"sight": Given(uploads=True)}), True),
    ):
        assert sight.offered(house)["takes"] == takes
        if takes:
            assert house.tell("sight/images", png()).make()["set"]
        else:
            with pytest.raises(RunError, match="read-only"):
                house.tell("sight/images", png()).make()


def test_models_have_short_names_none_twice_and_an_untrained_one_beside_them(tmp_path: Path) -> None:
    for where in ("a", "b"):
        (tmp_path / where).mkdir()
        (tmp_path / where / "dino.pth").write_bytes(b"")
    found = sight.named([str(tmp_path / "a" / "dino.pth"), str(tmp_path / "b" / "dino.pth"), "dinov2_vits14"])
    assert list(found) == ["dino", "dino (2)", "dinov2_vits14", sight.FLOOR]
    assert list(sight.named(["random:x"])) == ["random:x"]
    (tmp_path / "a" / "hub").mkdir()
    (tmp_path / "a" / "hub" / "config.json").write_text("{}")
    (tmp_path / "a" / "notes.txt").write_text("no model")
    assert list(sight.named([str(tmp_path / "a")])) == ["dino", "hub", sight.FLOOR], "a folder of models is its models"
    assert list(sight.named([str(tmp_path / "a" / "hub")])) == ["hub", sight.FLOOR]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DinoError, match="no model in the folder"):
        sight.named([str(tmp_path / "empty")])


def test_who_asks_again_and_again_keeps_nobody_out() -> None:
    turns, order, began = Turns(), [], Event()

    def again_and_again() -> None:
        for _ in range(200):
            with turns:
                order.append("many")
                began.set()
                time.sleep(0.002)

    with ThreadPoolExecutor(1) as pool:
        many = pool.submit(again_and_again)
        began.wait()
        with turns:
            order.append("one")
        many.result()
    assert order.index("one") < 190
    assert len(order) == 201
