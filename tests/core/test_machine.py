"""Device, threads and precision are chosen, and said."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from dino_core import machine
from dino_core.config import Machine


def test_what_the_user_asks_for_is_taken():
    chosen, said = machine.choose(Machine(device="cpu", threads=1, precision="bf16"))
    assert (chosen.device, chosen.threads, chosen.precision) == ("cpu", 1, "bf16")
    assert torch.get_num_threads() == 1
    assert "1 of" in said[0]


def test_half_precision_is_chosen_only_where_it_is_measured_to_be_faster(monkeypatch):
    for gain, expected in ((0.2, "fp32"), (5.0, "bf16")):
        monkeypatch.setattr(machine, "_bf16_gain", lambda gain=gain: gain)
        chosen, said = machine.choose(Machine(device="cpu", threads=1))
        assert chosen.precision == expected
        assert any("times as fast as fp32" in sentence for sentence in said)


def test_the_gain_is_measured_and_leaves_the_threads_as_they_were():
    torch.set_num_threads(2)
    assert 0.01 < machine._bf16_gain(size=64, rounds=2) < 100
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    code = "import dino_core.train, os; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": given} if given else {}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.stdout.strip() == expected, done.stderr


def test_more_than_two_cores_leave_one_to_the_viewer(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (8, 7)):
        monkeypatch.setattr(machine, "cores", lambda c=cores: c)
        chosen, _ = machine.choose(Machine(device="cpu", precision="fp32"))
        assert chosen.threads == expected
    torch.set_num_threads(1)
