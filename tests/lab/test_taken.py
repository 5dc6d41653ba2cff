"""What is taken away without a browser: stills, films, answers by their paths, a static gallery."""

from __future__ import annotations

import io
import json
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

import lab
from dino_core.errors import DinoError, RunError
from lab import films, local, onefile, sight, stills
from lab.answers import House
from lab.shelf import Shelf
from lab.site import site
from lab.views import catalogue
from lab.worker import Worker
from tests.apps.growing import Growing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    growing = Growing(tmp_path_factory.mktemp("taken") / "growing")
    for _ in range(3):
        growing.log(4)
        growing.probe()
    growing.writer.update(status="stopped")
    growing.writer.close()
    return lab.Run(growing.path)


@pytest.mark.parametrize("name", sorted(stills.STILLS))
def test_every_still_is_drawn_with_a_title_and_is_a_view(name: str, run: lab.Run) -> None:
    assert catalogue()[name].films
    figure = stills.drawn(name, run, 40)
    assert catalogue()[name].title in figure.get_suptitle()
    assert any(axis.has_data() for axis in figure.axes)


def test_a_still_holds_the_numbers_of_the_probe(run: lab.Run) -> None:
    figure = stills.drawn("attention", run, 40, image=1)
    maps = run.probe(40).attention[1].astype(np.float32).reshape(-1, 4, 4)
    shown = [axis.images[0].get_array() for axis in figure.axes[1 : 1 + len(maps)]]
    assert np.allclose(shown, maps / maps.mean((1, 2), keepdims=True))


def test_a_film_has_a_frame_a_step_and_its_axes_stay(run: lab.Run, tmp_path: Path) -> None:
    for name in ("heads.gif", "heads.webp"):
        assert Image.open(lab.film("attention", run, tmp_path / name)).n_frames == len(run.probes)
    legend = stills.drawn("emergence", run, 0, until=0).axes[0].get_legend()
    assert "knn/teacher" not in [text.get_text() for text in legend.get_texts()], "a curve is called as on the page"
    beside = legend.get_bbox_to_anchor().x0 >= legend.axes.bbox.x1
    assert beside, "over no curve, wherever those are"
    assert len(stills.drawn("schedules", run, 40).axes) > 1, "a momentum and a learning rate have no axis in common"
    limits = [stills.drawn("loss", run, step, until=step).axes[0].axis() for step in run.probes]
    assert limits[0] == limits[-1]
    with pytest.raises(RunError, match="ends in"):
        lab.film("attention", run, tmp_path / "heads.avi")
    with pytest.raises(RunError, match="no pictures at step 7"):
        lab.film("attention", run, tmp_path / "heads.gif", steps=[7])


@pytest.mark.skipif(films.ffmpeg() is None, reason="no ffmpeg here, and imageio-ffmpeg is not installed")
def test_an_mp4_holds_the_frames_in_order(run: lab.Run, tmp_path: Path) -> None:
    """Read back by the same program: as many pictures as the film has beats, each like the one that went in."""
    file = lab.film("attention", run, tmp_path / "heads.mp4")
    assert file.read_bytes()[4:8] == b"ftyp"
    wanted = films.frames("attention", run)
    command = [films.ffmpeg(), "-loglevel", "error", "-i", str(file), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    width, height = (side - side % 2 for side in wanted[0].size)
    seen = np.frombuffer(content, np.uint8).reshape(-1, height, width, 3)
    assert len(seen) == len(wanted) + round(films.LAST * films.RATE)
    for one, other in zip(wanted, seen):
        assert np.abs(np.asarray(one)[:height, :width].astype(float) - other).mean() < 4


def test_without_ffmpeg_an_mp4_is_refused_in_a_sentence(run: lab.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "ffmpeg", lambda: None)
    with pytest.raises(RunError, match=r"needs ffmpeg.*GIF and WebP need nothing"):
        films.encoded([Image.new("RGB", (4, 4))], "mp4")


def test_pictures_of_a_page_become_a_film_of_the_largest_size() -> None:
    files = [io.BytesIO(), io.BytesIO()]
    Image.new("RGB", (8, 6), "red").save(files[0], "JPEG")
    Image.new("RGB", (8, 10), "blue").save(files[1], "PNG")
    parts = [file.getvalue() for file in files]
    sizes = ",".join(str(len(part)) for part in parts)
    made = load(local.make(f"film?sizes={sizes}&kind=gif", b"".join(parts)))["file"].tobytes()
    film = Image.open(io.BytesIO(made))
    assert (film.n_frames, film.size) == (2, (8, 10))
    for body, announced in ((b"x" * 9, "9"), (parts[0], f"{len(parts[0])},1"), (b"", "")):
        with pytest.raises(RunError):
            local.make(f"film?sizes={announced}&kind=gif", body)


def test_a_page_gets_the_same_film_and_a_file(run: lab.Run) -> None:
    name = local.name_of(run)
    film = load(local.make(f'film/attention/{name}?state={{"image":1}}'))["file"].tobytes()
    assert Image.open(io.BytesIO(film)).n_frames == len(run.probes)
    text = load(local.make(f"export/attention/{name}"))["file"].tobytes().decode()
    assert text.startswith("<!doctype html>")
    for wrong in ("[1]", "{", '{"image": {}}'):
        with pytest.raises(DinoError, match="state is"):
            local.make(f"film/attention/{name}?state={wrong}")


def test_an_answer_is_what_the_page_gets(run: lab.Run) -> None:
    given = lab.answer(run, "probe/40/attention?layer=-1")
    assert np.array_equal(given["attention"], run.probe(40).attention.astype(np.float32))


def test_a_template_stands_for_all_its_paths(run: lab.Run) -> None:
    view, choices = catalogue()["patches"], onefile.Wanted(run, [0, 40]).choices()
    name = local.name_of(run)
    made = list(onefile.paths("run/{run}/probe/{step}/x?last={last}&mode={mode:a|b}", view, choices))
    assert made == [f"run/{name}/probe/{step}/x?last=40&mode={mode}" for step in (0, 40) for mode in "ab"]
    sources = [f"run:{name}:{step}:{network}" for step in (0, 40) for network in ("teacher", "student")]
    assert list(onefile.paths("{source}", view, choices)) == sources
    assert list(onefile.paths("{checkpoint}", view, choices)) == [], "a run without checkpoints"
    assert onefile.spelt("a?y=2&x=%7B") == onefile.spelt("a?x={&y=2") == "a?x={&y=2"
    with pytest.raises(ValueError, match="nobody knows"):
        list(onefile.paths("{nonsense}", view, choices))


def test_a_run_is_found_by_folder_and_by_name(run: lab.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert lab.find(run.path).path == run.path
    assert lab.find("dino_shapes").path.name == "dino_shapes"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run 'nowhere'"):
        lab.find("nowhere")


def test_a_gallery_is_an_index_and_a_page_a_run(run: lab.Run, tmp_path: Path) -> None:
    asked = [run.probes[0], run.probes[0] + 1]  # a step that another run may have
    index, page = site(run.path.parent, tmp_path / "out", views=["attention"], steps=asked)
    assert f"1 of {len(run.probes)} checkpoints" in page.read_text()
    assert f'href="{page.name}"' in index.read_text()
    assert "http" not in index.read_text().replace("http-equiv", "").replace("http://www.w3.org", "")
    with pytest.raises(RunError, match="no run below"):
        site(tmp_path / "out", tmp_path / "other")


def test_what_is_offered_has_names_and_stays_what_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local.house(), "more", {})
    assert lab.offer() == {"models": [sight.FLOOR], "folders": [], "takes": True}
    offered = lab.offer(models=["random:vit_tiny_patch16_224"], folders=[tmp_path])
    assert offered["models"] == [sight.FLOOR, "random:vit_tiny_patch16_224"]
    assert lab.offer(folders=[tmp_path])["folders"] == offered["folders"]
    with pytest.raises(RunError, match="there is no folder"):
        lab.offer(folders=[tmp_path / "nowhere"])


def test_a_widget_that_looks_through_networks_brings_their_bar_and_the_clock(run: lab.Run) -> None:
    names = [view["name"] for view in lab.show("heads", run, overlay="dino_shapes")._views]
    assert names == ["sources", "heads", "transport"]
    assert [view["name"] for view in lab.show("loss", run)._views] == ["loss"]
    assert [view["name"] for view in lab.show("patches", run)._views] == ["patches", "transport"], (
        "it shows its own run"
    )
    with pytest.warns(UserWarning, match=r"attention: .* whatever against is. Views that look .* heads"):
        lab.show("attention", run, against="first")
    with pytest.warns(UserWarning, match="no view knows 'imgae'"):
        lab.show("heads", run, imgae=2, against="first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lab.show(["heads", "spectrum"], run, against="first", patch=3, spectrum_network="student")
    assert lab.show("gram", run, overlay="dino_shapes").state["overlay"] == local.name_of(lab.find("dino_shapes"))
    several = lab.show("loss", run, overlay=["dino_shapes", run]).state
    assert several == {"overlay": local.name_of(lab.find("dino_shapes")), "beside": local.name_of(run)}
    with pytest.raises(RunError, match="at most 6 stand on one axis"):
        lab.show("loss", run, overlay=[run] * 6)
    assert "{run}" not in str(lab.answer(run, "sight/images?images=probe:{run}").keys())


def test_a_model_that_is_not_there_is_said_before_a_file_is_written(run: lab.Run, tmp_path: Path) -> None:
    models = local.offer(models=[str(tmp_path / "nothere.pth")])["models"]
    missing = [name for name in models if "nothere" in name]
    with pytest.raises(DinoError, match="nothere"):
        lab.export("heads", run, tmp_path / "one.html", models=missing)
    assert not (tmp_path / "one.html").exists()
    text, _, _ = onefile.document("heads", run, models=missing)
    assert "nothere.pth does not exist" in text, "a page's button writes the file all the same, with the reason in it"
    assert str(tmp_path) not in text


def test_a_file_is_made_anew_when_a_run_that_is_laid_over_has_grown(tmp_path: Path) -> None:
    runs = [Growing(tmp_path / name, name=name) for name in ("one", "other")]
    for one in runs:
        one.log(4)
        one.probe()
    house = House(Shelf([tmp_path]), Worker())
    ids = {row["name"]: row["id"] for row in house.shelf.listing()}
    asked = f"export/loss/{ids['one']}", {"state": json.dumps({"overlay": ids["other"]})}
    before = house.ask(*asked).key
    assert house.ask(*asked).key == before
    runs[1].log(4)
    assert house.ask(*asked).key != before
    for one in runs:
        one.writer.close()
