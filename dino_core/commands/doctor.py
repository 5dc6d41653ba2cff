"""`dino-lab doctor`: what this machine has, what works, what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

OPTIONAL = {
    "gradio": "the lab in a browser (pip install 'dino-lab[lab]')",
    "plotly": "curves in the lab (pip install 'dino-lab[lab]')",
    "pandas": "tables of metrics (pip install 'dino-lab[lab]')",
    "jupyterlab": "notebooks (pip install 'dino-lab[lab]')",
    "datasets": "Hugging Face data sets (pip install 'dino-lab[hf]')",
    "tensorboard": "a mirror of the metrics (pip install 'dino-lab[mirrors]')",
}


def main(arguments: list[str]) -> int:
    argparse.ArgumentParser(prog="dino-lab doctor", description=__doc__).parse_args(arguments)
    healthy = True
    for name, check in CHECKS.items():
        try:
            print(f"  ok    {name:14} {check()}")
        except Exception as error:
            healthy = False
            print(f"  FAIL  {name:14} {type(error).__name__}: {error}")
    for package, purpose in OPTIONAL.items():
        there = importlib.util.find_spec(package) is not None
        found = importlib.metadata.version(package) if there else f"not installed; needed for {purpose}"
        print(f"  {'ok  ' if there else 'none'}  {package:14} {found}")
    print(
        "everything needed for training works" if healthy else "something needed for training does not work, see FAIL"
    )
    return 0 if healthy else 1


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _torch() -> str:
    import timm
    import torch
    import torchvision

    return f"{torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"


def _machine() -> str:
    from dino_core.config import Machine
    from dino_core.machine import be_a_good_neighbour, choose

    be_a_good_neighbour()
    chosen, said = choose(Machine())
    return f"{chosen.device}; " + "; ".join(said)


def _accelerators() -> str:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names) or ("Apple GPU" if torch.backends.mps.is_available() else "none; training uses the CPU")


def _step() -> str:
    """A real step: forward, loss, backward, on the smallest network."""
    import torch

    from dino_core.objective.terms import cross_view

    logits = torch.randn(4, 8, 16, requires_grad=True)
    loss = cross_view(logits, torch.full((2, 8, 16), 1 / 16))
    loss.backward()
    if logits.grad is None or not logits.grad.isfinite().all():
        raise RuntimeError("the gradient of a small loss is not finite")
    return f"loss and gradient of a small batch are finite ({loss.item():.3f} nats)"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 0.5:
        raise RuntimeError(f"{free:.1f} GiB free here; a run of `tiny` needs about 0.2 GiB")
    return f"{free:.0f} GiB free here"


CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "torch": _torch,
    "machine": _machine,
    "accelerators": _accelerators,
    "a step": _step,
    "disk": _disk,
}
