"""ONNX graphs give in onnxruntime what the network gives in torch."""

from __future__ import annotations

import multiprocessing
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dino_core.errors import ConfigError
from dino_core.model import Backbone, load_backbone
from dino_core.model import onnx as onnx_module
from dino_core.model.convert import convert
from dino_core.model.positions import bicubic
from tests.core.test_convert import NETWORKS, images_of, stored
from tests.core.test_load import close, shaken
from tests.ranks import PRELOADED

for package in onnx_module.NEEDED:
    pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize(("side", "n"), [(4, 4), (4, 7), (7, 4), (14, 1), (37, 16)])
def test_bicubic_rows_are_torchs_interpolation_by_a_scale(side: int, n: int, offset: float) -> None:
    signal = torch.randn(1, 2, side, side, dtype=torch.float64)
    expected = F.interpolate(signal, scale_factor=((n + offset) / side,) * 2, mode="bicubic")
    rows = bicubic(side, n, torch.tensor(offset, dtype=torch.float64))
    torch.testing.assert_close(rows @ signal @ rows.mT, expected, rtol=1e-9, atol=1e-9)


ANY_SIZE = ("dinov2", "dinov3", "dinov3 convnext")


def shallow(name: str) -> Backbone:
    """One block where there are several: a graph takes as long to write as it is deep."""
    torch.manual_seed(0)
    architecture = NETWORKS[name]
    return shaken(replace(architecture, depth=1).build() if hasattr(architecture, "depth") else architecture.build())


@pytest.fixture(scope="module")
def graphs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Exported by another process: the annotations that tests check know no symbolic sizes.  And what was said."""
    folder = tmp_path_factory.mktemp("graphs")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=write_graphs, args=(folder, small_run))
    process.start()
    process.join(240)
    assert process.exitcode == 0, "its error is above"
    return folder, (folder / "said").read_text().splitlines()


def write_graphs(folder: Path, run: Path) -> None:
    warnings.simplefilter("ignore")
    said = []
    for name in ANY_SIZE:
        backbone = shallow(name)
        said.append(" ".join(map(str, onnx_module.export(backbone, folder / f"{name}.onnx", 4 * backbone.patch))))
    done = convert(str(run), folder / "run.onnx", "onnx")
    (folder / "said").write_text("\n".join([*said, f"{done.said} {done.differences}"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_graph_takes_any_number_of_images_of_any_size(name: str, graphs: tuple[Path, list[str]]) -> None:
    import onnxruntime

    folder, said = graphs
    assert said[ANY_SIZE.index(name)].startswith("() {")
    backbone = shallow(name)
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
    assert [o.name for o in session.get_outputs()] == ["cls", *(["registers"] * bool(backbone.registers)), "patches"]
    for rows, columns in ((4, 4), (3, 5), (7, 2)):  # the first is the stored grid, at which positions stay as they are
        images = images_of(backbone, rows, columns)
        for batch in (images, images[:1]):
            outputs, tokens = session.run(None, {"images": batch.numpy()}), backbone(batch)
            close(torch.from_numpy(outputs[0]), tokens.cls)
            close(torch.from_numpy(outputs[-1]), tokens.patches)


@pytest.mark.slow
def test_a_run_is_exported(graphs: tuple[Path, list[str]], small_run: Path) -> None:
    import onnxruntime

    folder, said = graphs
    assert said[-1].startswith("() {48: ")
    images = torch.randn(2, 3, 32, 64)
    outputs = onnxruntime.InferenceSession(str(folder / "run.onnx")).run(None, {"images": images.numpy()})
    close(torch.from_numpy(outputs[0]), load_backbone(small_run)(images).cls)


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "NEEDED", ("no_such_package",))
    with pytest.raises(ConfigError, match=r"ONNX needs no_such_package: pip install 'dino-lab\[onnx\]'"):
        convert(stored("dino", tmp_path), tmp_path / "x.onnx", "onnx")
