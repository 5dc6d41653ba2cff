"""docs/views.md says what the registry says, and has a picture of each view."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


def test_every_view_has_its_picture_and_its_words():
    made = runpy.run_path(str(DOCS / "every_view.py"))
    assert (DOCS / "views.md").read_text("utf-8") == made["written"](), "run python docs/every_view.py"
    names = {view.name for view in made["shown"]()}
    assert {file.stem for file in (DOCS / "views").glob("*.png")} == names
    for name in names:
        with Image.open(DOCS / "views" / f"{name}.png") as picture:
            assert picture.width >= 400
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20, name
