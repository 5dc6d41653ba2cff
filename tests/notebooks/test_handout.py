"""The handout names what is there, its formulas can be read, and it is one sheet of paper."""

from __future__ import annotations

import re
import shutil

import pytest

from lab.formulas import mathml
from notebooks import handout


def test_every_function_it_names_is_in_dino_core():
    found = handout.named()
    assert len(found) >= 15
    assert all(callable(what) for what in found.values())
    assert found["objective.terms.koleo"].__module__ == "dino_core.objective.terms"


def test_a_name_that_is_not_there_is_said(tmp_path, monkeypatch):
    wrong = tmp_path / "HANDOUT.md"
    wrong.write_text("| **EMA** | $x$ | (K) | Sec. 3 | `model.network.Network.folow` |\n")
    monkeypatch.setattr(handout, "SOURCE", wrong)
    with pytest.raises(AttributeError, match="folow"):
        handout.named()


def test_every_formula_becomes_mathml():
    formulas = re.findall(r"\$([^$]+)\$", handout.SOURCE.read_text())
    assert len(formulas) > 40
    assert [formula for formula in formulas if not mathml(formula).startswith("<math")] == []
    assert "$" not in re.sub(r"<annotation.*?</annotation>", "", handout.page().split("<body>")[1])


@pytest.mark.browser
@pytest.mark.skipif(not any(map(shutil.which, handout.BROWSERS)), reason="no browser that prints")
def test_it_is_one_sheet_of_paper(tmp_path):
    printed = handout.write(tmp_path / "handout.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1
    box = re.search(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert box
    assert [round(float(side) / 72 * 25.4) for side in box.groups()] == [210, 297]
