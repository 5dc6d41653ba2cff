"""What holds for every view, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_core.errors import RunError
from lab import views
from lab.analysis import attention
from lab.answers import House, Reply, Unanswered, answers, value_of
from lab.run import Probe, Run
from lab.shelf import Shelf
from lab.views.figures import FIGURES, figure
from lab.worker import Worker

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
VIEWS = views.catalogue()


@pytest.fixture(scope="module")
def house() -> House:
    return House(Shelf([GOLDEN.parent]), Worker())


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_says_what_it_shows_and_what_to_look_at(view: views.View) -> None:
    assert view.title
    assert not view.title.endswith(".")
    for sentence in (view.shows, view.look):
        assert sentence.endswith((".", "?", "alarms.")), sentence
        assert 20 < len(sentence) < 240
    source = (views.STATIC / f"{view.module}.js").read_text()
    assert "export function mount(element, host)" in source


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_axes_with_titles_at_every_choice_of_its_controls(name: str, house: House) -> None:
    run = Run(GOLDEN)
    for key, control in {None: {}, **FIGURES[name].view.controls}.items():
        for value in control.get("choices", [control.get("default")]):
            chosen = {} if key is None else {key: value}
            drawn = FIGURES[name](run, run.probes[-1], **chosen).to_plotly_json()
            assert drawn["data"]
            for axis in ("xaxis", "yaxis"):
                assert drawn["layout"][axis]["title"]["text"]
    asked = house.ask(f"figure/{name}/{house.shelf.name_of(GOLDEN)}/{run.probes[-1]}", {"controls": "{}"}).make()
    assert json.loads(json.dumps(asked))["data"]


def test_halves_that_follow_each_other_share_a_row() -> None:
    for page in (views.EVERYWHERE, *(page.name for page in views.PAGES)):
        for row in views.rows(page):
            assert len(row) == 1 or (len(row) == 2 and all(view.half for view in row))
    assert next(view.name for row in views.rows("monitor") for view in row) == "diagnosis"


def test_a_figure_must_say_what_it_reads_and_where_its_controls_begin() -> None:
    def undirected(what: int) -> None: ...
    def endless(run: Run, *, smooth: int) -> None: ...
    def odd(probe: Probe, *, colours: list = []) -> None: ...  # noqa: B006

    words = {"page": "monitor", "title": "T", "shows": "S.", "look": "L."}
    for function, sentence in (
        (undirected, "expected a Run or a Probe"),
        (endless, "has no default"),
        (odd, "expected a Literal"),
    ):
        function.__annotations__ = {
            k: eval(v) if isinstance(v, str) else v for k, v in function.__annotations__.items()
        }
        with pytest.raises(TypeError, match=sentence):
            figure(**words)(function)


@pytest.mark.parametrize(
    ("path", "values", "sentence"),
    [
        ("nothing", {}, "nobody here answers 'nothing'"),
        ("run/RUN/probe/x/features", {}, "step is 'x'; expected int"),
        ("run/RUN/probe/500/features", {"network": "cat"}, "expected one of teacher, student"),
        ("run/RUN/probe/500/features", {"size": "3"}, "'size' is not asked for here"),
        ("run/RUN/probe/500/pca", {"foreground": "perhaps"}, "expected true or false"),
    ],
)
def test_what_cannot_be_answered_is_said(house: House, path: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Unanswered, match=sentence):
        house.ask(path.replace("RUN", house.shelf.name_of(GOLDEN)), values)


def test_values_become_what_annotations_say() -> None:
    assert value_of("3", int | None, "n") == 3
    assert value_of("", int | None, "n") is None
    assert value_of("1", bool, "b") is True


def test_what_is_handed_in_reaches_its_answer(house: House) -> None:
    @answers("echo/{times}", "tell")
    def echo(house: House, body: bytes, times: int) -> Reply:
        return Reply(lambda: {"said": body.decode() * times})

    assert house.tell("echo/2", b"da").make() == {"said": "dada"}
    with pytest.raises(Unanswered):
        house.ask("echo/2")


def test_heads_through_training_are_measured_as_analysis_does(house: House) -> None:
    run = Run(GOLDEN)
    said = house.ask(f"run/{house.shelf.name_of(GOLDEN)}/heads", {"image": "1"}).make()
    assert said["steps"] == run.probes
    masks = run.probe_images.masks
    assert masks is not None
    first = run.probe(run.probes[0]).attention[1].astype(float)
    for at, step in enumerate(run.probes):
        probe = run.probe(step)
        for head, weights in enumerate(probe.attention[1].astype(float)):
            assert said["entropy"][at][head] == pytest.approx(
                attention.head_entropy(weights) / np.log(len(weights)), abs=1e-3
            )
            held = attention.on_pixels(attention.mass_mask(weights), probe.grid, masks.shape[-1])
            wanted = attention.jaccard(held, masks[1].reshape(-1) > 0)
            assert said["jaccard"][at][head] == pytest.approx(wanted, abs=1e-3)
            assert said["changed"][at][head] == pytest.approx(attention.changed(weights, first[head]), abs=1e-3)
    with pytest.raises(RunError, match="no probe image 99"):
        house.ask(f"run/{house.shelf.name_of(GOLDEN)}/heads", {"image": "99"}).make()
