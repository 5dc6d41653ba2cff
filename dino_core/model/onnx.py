"""A backbone as an ONNX graph: images in; class token, registers and patches out.

Axes: B images, h w pixels, R registers, N patches, D features."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core.errors import CheckpointError, ConfigError
from dino_core.model.backbone import Backbone

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-3
"""Relative difference of tokens between torch and onnxruntime; kernels add up in another order."""
LARGEST = 1024
"""Rows and columns of patches that a graph of any size is promised for."""


class Graph(nn.Module):
    """What the exported graph computes."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> tuple[Tensor, ...]:
        tokens = self.backbone(images)
        registers = (tokens.registers,) if self.backbone.registers else ()
        return (tokens.cls, *registers, tokens.patches)

    def names(self) -> list[str]:
        return ["cls", *(["registers"] if self.backbone.registers else []), "patches"]


def export(backbone: Backbone, path: Path, size: int) -> tuple[tuple[str, ...], dict[int, float]]:
    """Write the graph, for any number of images, of any size where the network allows it, else of `size` pixels.

    What was lost, in sentences; and size -> relative difference of tokens when onnxruntime runs it."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {', '.join(missing)}: pip install 'dino-lab[onnx]'.")
    graph = Graph(backbone).eval()
    other = (round(1.5 * size / backbone.patch) or 1) * backbone.patch
    for sizes in ((size, other), (size,)):
        try:
            _write(graph, path, size, any_size=len(sizes) > 1)
            apart = {pixels: _difference(graph, path, pixels) for pixels in sizes}
        except Exception:  # whatever the exporter or the runtime raise about sizes
            if len(sizes) == 1:
                raise
            continue
        if max(apart.values()) < TOLERANCE:
            said = () if len(sizes) > 1 else (f"its images must have {size} by {size} pixels.",)
            return said, apart
    path.unlink(missing_ok=True)
    raise CheckpointError(f"onnxruntime computes something else: {apart}; this network can't be exported.")


def _write(graph: Graph, path: Path, size: int, *, any_size: bool) -> None:
    patch = graph.backbone.patch
    dims: dict[int, Any] = {0: torch.export.Dim("batch")}
    if any_size:
        rows, columns = (torch.export.Dim(name, min=1, max=LARGEST) for name in ("rows", "columns"))
        dims |= {2: patch * rows, 3: patch * columns}
    side = (size, size + patch) if any_size else (size, size)  # unlike, so that neither is taken for the other
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 3, *side),),
            dynamo=True,
            dynamic_shapes={"images": dims},
            input_names=["images"],
            output_names=graph.names(),
            verbose=False,
        )
    assert program is not None
    program.save(path)


@torch.no_grad()
def _difference(graph: Graph, path: Path, size: int) -> float:
    import onnxruntime

    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = [torch.from_numpy(output) for output in session.run(None, {"images": images.numpy()})]
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, graph(images), strict=True))
