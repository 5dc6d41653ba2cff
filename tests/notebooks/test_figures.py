"""A figure of the course has a title, names of its axes and a legend, or is not shown."""

from __future__ import annotations

import matplotlib
import pytest

matplotlib.use("agg")

from notebooks.course import gallery, show
from notebooks.figures import look
from notebooks.views import figure


def drawn(**words):
    picture, axes = figure()
    axes.plot([0, 1], label="one")
    axes.plot([1, 0], label="other")
    axes.set(**words)
    return picture, axes


COMPLETE = {"title": "Lines", "xlabel": "step", "ylabel": "nats"}


@pytest.mark.parametrize(("left_out", "named"), [("title", "a title"), ("xlabel", "x axis"), ("ylabel", "y axis")])
def test_what_is_missing_is_named(left_out, named):
    picture, axes = drawn(**{name: word for name, word in COMPLETE.items() if name != left_out})
    axes.legend()
    with pytest.raises(ValueError, match=named):
        look(picture, "two lines.", "them.")


def test_several_lines_need_a_legend(capsys):
    picture, axes = drawn(**COMPLETE)
    with pytest.raises(ValueError, match="the axes 'Lines' lack a legend"):
        look(picture, "two lines.", "them.")
    axes.legend()
    look(picture, "two lines.", "them.")
    assert "**Look at:** them." in capsys.readouterr().out


def test_one_legend_serves_several_axes_with_the_same_lines():
    picture, (first, second) = figure(1, 2)
    for axes in (first, second):
        axes.plot([0, 1], label="one")
        axes.plot([1, 0], label="other")
        axes.set(**COMPLETE)
    second.legend()
    look(picture, "two lines twice.", "them.")


def test_a_picture_needs_a_title_alone():
    picture, axes = figure()
    axes.imshow([[0, 1]])
    axes.axis("off")
    with pytest.raises(ValueError, match="lack a title"):
        look(picture, "an image.", "it.")
    axes.set_title("image")
    look(picture, "an image.", "it.")


def test_a_view_that_names_no_image_leaves_alone_the_one_that_is_looked_at(monkeypatch):
    monkeypatch.delenv("DINO_COURSE_STATIC", raising=False)
    assert show("attention", run=gallery(), image=2).state == {"image": 2}
    assert show("loss", run=gallery()).state == {}
