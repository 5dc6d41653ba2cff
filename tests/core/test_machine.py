"""Device, threads and precision are chosen, and said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from dino_core import machine
from dino_core.commands.fork import main as fork
from dino_core.config import Machine, to_json
from dino_core.errors import ConfigError
from dino_core.rundir.read import read_config
from dino_core.rundir.schema import CHECKPOINTS, step_name
from dino_core.train import resume


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


def test_a_device_that_is_not_here_is_refused_or_where_only_remembered_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    asked = Machine(device="cuda:1", threads=1, precision="fp16", compile=True)
    with pytest.raises(ConfigError, match="'cuda:1', which torch does not see here"):
        machine.choose(asked)
    with pytest.raises(ConfigError, match="'gpu', which torch does not see here"):
        machine.choose(Machine(device="gpu"))
    chosen, said = machine.choose(asked, remembered=True)
    assert (chosen.device, chosen.compile) == ("cpu", True)
    assert chosen.precision != "fp16"
    assert said[0] == "trained on cuda:1, which is not here"
    torch.set_num_threads(1)


def test_under_torchrun_each_process_has_the_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    told = {None: "cuda:0", "cuda": "cuda:0", "cuda:0": "cuda:0", "cuda:1": "cuda:1"}
    for device, expected in told.items():
        assert machine.choose(Machine(device=device, precision="bf16"))[0].device == expected
    monkeypatch.setenv("LOCAL_RANK", "3")
    for device in told:  # a config that is resumed says where its first rank was
        assert machine.choose(Machine(device=device, precision="bf16"), remembered=True)[0].device == "cuda:3"


def test_a_run_of_a_gpu_is_resumed_and_forked_where_there_is_none(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    shutil.rmtree(run / CHECKPOINTS / step_name(12))
    config = read_config(run)
    (run / "config.json").write_text(to_json(replace(config, machine=Machine(device="cuda:0", precision="bf16"))))
    assert fork([str(run), "--at", "8", "--out", str(tmp_path / "fork")]) == 0
    assert resume(run) == "finished"
    torch.set_num_threads(1)
