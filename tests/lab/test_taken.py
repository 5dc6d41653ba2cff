"""What is taken away without a browser: stills, films, answers by their paths, a static gallery."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

import lab
from dino_core.errors import DinoError, RunError
from lab import local, onefile, stills
from lab.site import site
from lab.views import catalogue
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
    film = Image.open(lab.film("attention", run, tmp_path / "heads.gif"))
    assert film.n_frames == len(run.probes)
    limits = [stills.drawn("loss", run, step, until=step).axes[0].axis() for step in run.probes]
    assert limits[0] == limits[-1]
    with pytest.raises(RunError, match="ends in"):
        lab.film("attention", run, tmp_path / "heads.avi")
    with pytest.raises(RunError, match="no pictures at step 7"):
        lab.film("attention", run, tmp_path / "heads.gif", steps=[7])


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


def test_a_template_stands_for_all_its_paths() -> None:
    view = catalogue()["patches"]
    made = list(onefile.paths("run/{run}/probe/{step}/x?last={last}&mode={mode:a|b}", view, "r", [1, 5], [-1], [0]))
    assert made == [f"run/r/probe/{step}/x?last=5&mode={mode}" for step in (1, 5) for mode in "ab"]
    assert onefile.spelt("a?y=2&x=%7B") == onefile.spelt("a?x={&y=2") == "a?x={&y=2"
    with pytest.raises(ValueError, match="nobody knows"):
        list(onefile.paths("{nonsense}", view, "r", [1], [-1], [0]))


def test_what_views_record_can_be_answered(run: lab.Run) -> None:
    """A view's list of questions is held to those who answer: a renamed answer may not leave files empty."""
    answered = [path for path, _ in onefile.recorded(list(catalogue().values()), run, run.probes)]
    needs_checkpoints = {"objective", "heads"}
    for view in catalogue().values():
        for template in view.records:
            asked = list(onefile.paths(template, view, local.name_of(run), run.probes, [-1], [0]))
            if view.name not in needs_checkpoints and "student" not in template:
                assert set(asked) & set(answered), f"{view.name}: {template}"


def test_a_run_is_found_by_folder_and_by_name(run: lab.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert lab.find(run.path).path == run.path
    assert lab.find("dino_shapes").path.name == "dino_shapes"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run 'nowhere'"):
        lab.find("nowhere")


def test_a_gallery_is_an_index_and_a_page_a_run(run: lab.Run, tmp_path: Path) -> None:
    index, page = site(run.path.parent, tmp_path / "out", views=["attention"], steps=run.probes[:1])
    assert f'href="{page.name}"' in index.read_text()
    assert "http" not in index.read_text().replace("http-equiv", "").replace("http://www.w3.org", "")
    with pytest.raises(RunError, match="no run below"):
        site(tmp_path / "out", tmp_path / "other")
