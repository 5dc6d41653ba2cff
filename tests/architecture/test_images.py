"""What Docker and Binder are told agrees with the project.  No image is built here."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def test_binder_installs_what_the_course_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = set(project["dependencies"]) | set(project["optional-dependencies"]["lab"])
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert {line for line in lines if not line.startswith(("#", "--"))} == needed
    python = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert SpecifierSet(project["requires-python"]).contains(python)


def test_binders_script_can_be_run():
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_docker_copies_what_is_there_and_starts_what_exists():
    text = (ROOT / "Dockerfile").read_text()
    copied = re.search(r"^COPY (.+) \./$", text, re.MULTILINE)
    assert copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in [*copied[1].split(), "README.md", "LICENSE", "notebooks", "lab", "apps", "dino_core"]:
        assert (ROOT / name).exists()
        assert name not in ignored
    started = yaml.safe_load(re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)[1])
    assert started[:4] == ["python", "-m", "notebooks", "open"]
    assert "USER 1000" in text.split("CMD")[0]
