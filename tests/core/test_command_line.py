"""`dino-lab` where nobody reads, where the terminal can't show a letter, and where a file can't be used."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dino_core import cli
from dino_core.cli import guarded
from dino_core.train import going_on

SAYING = """
import sys
from dino_core.cli import guarded
from dino_core.progress import say

def command(arguments):
    for i in range(3):
        say("training in {name}")
    print("done", file=sys.stderr)

sys.exit(guarded(command, []))
"""


def python(code: str, stdout: int | None, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr


@pytest.fixture
def broken_pipe() -> int:
    """Where `head` was, which has enough."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_training_goes_on_when_nobody_reads_what_it_says(broken_pipe: int) -> None:
    assert python(SAYING.replace("{name}", "x"), broken_pipe) == (0, "done\n")


def test_a_command_ends_without_a_word_when_nobody_reads_it(broken_pipe: int) -> None:
    assert python('import sys\nfrom dino_core.cli import main\nsys.exit(main(["--help"]))', broken_pipe)[0] == 141
    code = "import sys\nfrom dino_core.cli import guarded\nsys.exit(guarded(lambda _: print('x' * 99999), []))"
    assert python(code, broken_pipe) == (141, "")


def test_a_closed_output_ends_no_training() -> None:
    code = f"import os\nos.close(1)\nos.execv({sys.executable!r}, [{sys.executable!r}, '-c', {SAYING!r}])"
    assert python(code, subprocess.DEVNULL) == (0, "done\n")


def test_a_name_that_the_terminal_cannot_show_ends_no_training() -> None:
    assert python(SAYING.replace("{name}", "Übung"), subprocess.DEVNULL, PYTHONIOENCODING="ascii") == (0, "done\n")


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda _: len((tmp_path / "none").read_text()), []) == 2
    assert capsys.readouterr().err == f"dino-lab: can't read or write {tmp_path / 'none'}: No such file or directory.\n"


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def load(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "commands", lambda: {"train": Slow()})
    assert cli.main(["train", "tiny"]) == 130


def test_the_command_that_goes_on_can_be_pasted() -> None:
    out = Path("runs/Übung 'eins'")
    assert shlex.split(going_on(out)) == ["dino-lab", "resume", str(out)]
