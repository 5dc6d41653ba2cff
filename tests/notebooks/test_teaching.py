"""The teacher's guide names what there is: notebooks, exercises, lessons and settings of the playground, pages of the lab."""

from __future__ import annotations

import re
from importlib import import_module
from urllib.parse import parse_qsl

import pytest

from lab.views import PAGES, STATIC
from notebooks import building
from notebooks.exercises import EXERCISES

TEXT = (building.HERE / "TEACHING.md").read_text()
LINKS = re.findall(r"`(?:HOST|http://SERVER:7860)/\?([^`]+)`", TEXT)
WORDS = (STATIC / "playground_words.js").read_text()


def test_every_notebook_has_a_line():
    rows = re.findall(r"^\| (\d\d) ", TEXT, re.MULTILINE)
    assert set(rows) >= {source.stem[:2] for source in building.sources()}


def test_exercises_that_are_named_exist():
    there = {source.stem[:2] for source in building.sources()}
    for number in there:
        import_module(f"notebooks.checks.n{number}")
    named = {number for number in re.findall(r"\b(?:0\d|1[012])\.\d\b", TEXT) if number[:2] in there}
    assert len(named) >= 20
    assert named <= set(EXERCISES)


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_to_pages_and_lessons_that_exist(link):
    said = dict(parse_qsl(link))
    page = said.pop("view")
    assert page in {known.name for known in PAGES}
    assert set(said) <= {"run", "overlay", "step", "image", "pg", "pgset", "pgdo", "card"}
    if "card" in said:
        assert f'"page": "{page}"' in (STATIC / f"{said['card']}.js").read_text()
    if "pg" in said:
        assert re.search(rf'^  "?{said["pg"]}"?: {{ title:', WORDS, re.MULTILINE)
    for setting in said.get("pgset", "").split("*"):
        if setting:
            assert f"{setting.split('-')[0]}:" in (STATIC / "simulator.js").read_text()
