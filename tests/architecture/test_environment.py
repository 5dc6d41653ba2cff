"""Both descriptions of the environment say the same, and light things stay light."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from dino_core import cli
from tests.ranks import PRELOADED

ROOT = Path(__file__).parents[2]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_and_pip_describe_the_same_environment():
    pip = set(project()["dependencies"])
    for extra in ("lab", "hf", "mirrors", "test"):
        pip |= set(project()["optional-dependencies"][extra])
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = set(next(part["pip"] for part in listed if isinstance(part, dict)))
    assert conda - {"--editable ."} == pip


def test_conda_is_asked_for_channels_that_every_version_knows():
    """`nodefaults` was a word of its own once; conda 26 looks for a channel of that name, and fails."""
    assert yaml.safe_load((ROOT / "environment.yml").read_text())["channels"] == ["conda-forge"]


def test_every_tested_version_is_one_that_is_allowed():
    from packaging.requirements import Requirement

    allowed = {}
    for text in [*project()["dependencies"], *chain(*project()["optional-dependencies"].values())]:
        requirement = Requirement(text)
        allowed[requirement.name.lower().replace("_", "-")] = requirement.specifier
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    for line in pinned:
        name, version = line.split("==")
        assert allowed[name.lower().replace("_", "-")].contains(version), line


def test_training_alone_needs_no_viewer():
    names = {re.split(r"[<>=\[]", text)[0] for text in project()["dependencies"]}
    assert not names & {"plotly", "gradio", "pandas", "matplotlib", "jupyterlab", "ipywidgets", "umap-learn"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import dino_core, dino_core.config, dino_core.recipes, dino_core.fit, dino_core.schedules, dino_core.rundir.read",
        "import dino_core.telemetry.diagnosis",
        "import dino_core.cli; dino_core.cli.main(['--help'])",
        "import dino_core.commands.train as t; t.main(['--help'])",
        "import lab",
    ],
)
def test_what_only_looks_imports_no_torch(code):
    assert "torch" not in modules_after(code)


COMMANDS = (
    "",
    "train",
    "train tiny",
    "resume",
    "fork",
    "distill",
    "evaluate",
    "record",
    "convert",
    "plan",
    "watch",
    "lab",
    "doctor",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_that_takes_seconds(command):
    """How long it takes is measured by `python -m benchmarks help`."""
    code = "from dino_core.cli import main\n"
    code += f"try:\n    main({[*command.split(), '--help']!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
    code += "import sys; print('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "timm", "gradio", "plotly", "pandas", "matplotlib", "transformers", "umap"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "no command 'trian'. Commands: "),
        (["train", "tinny"], "no recipe 'tinny'. Recipes: tiny"),
        (["train", "tiny", "--stepz", "3"], "--steps"),
        (["train", "tiny", "--crops.local-size", "100"], "must not be larger than"),
        (["train", "tiny", "--data.source", "nowhere/at/all", "--out", "{tmp}/run"], "nowhere/at/all"),
        (["train", "vits16_dino", "--out", "{tmp}/run"], "--data.source"),
        (["resume", "{tmp}"], "is not a run"),
        (["fork", "{tmp}", "--at", "3"], "config.json"),
        (["evaluate", "{tmp}/nothing.pth", "--data.source", "shapes"], "nothing.pth"),
        (["convert", "{tmp}/nothing.pth", "{tmp}/out", "--to", "timm"], "nothing.pth does not exist"),
        (["watch", "{tmp}/nothing"], "there is no folder"),
    ],
)
def test_a_users_mistake_is_a_sentence_and_exit_code_2(arguments, sentence, tmp_path):
    arguments, said = [argument.format(tmp=tmp_path) for argument in arguments], tmp_path.with_suffix(".said")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # torch, once and not once a mistake
    process = context.Process(target=command_line, args=(arguments, said))
    process.start()
    process.join(120)
    assert process.exitcode == 2, said.read_text()
    assert sentence in said.read_text()
    assert "Traceback" not in said.read_text()


def command_line(arguments: list[str], said: Path) -> None:
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["dino-lab", *arguments]
    sys.exit(cli.main())


def test_the_command_is_a_process_that_ends_with_its_exit_code():
    done = subprocess.run([sys.executable, "-m", "dino_core.cli", "trian"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no command 'trian'. Commands: " in done.stderr


def test_a_folder_that_is_not_installed_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cli, "entry_points", lambda group: ())
    assert cli.main(["train", "tiny"]) == 2
    assert "it is not installed here: pip install -e ." in capsys.readouterr().err
