"""Write a backbone in another layout, and read it back to see that it is still the same network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dino_core.config import IMAGENET_MEAN, IMAGENET_STD
from dino_core.errors import CheckpointError, ConfigError
from dino_core.model.architectures import LearnedVit
from dino_core.model.backbone import Backbone
from dino_core.model.describing import described, difference
from dino_core.model.layouts import dino, dinov2, dinov3, hugging_face, own, timm
from dino_core.model.layouts.reading import Reading, Written
from dino_core.model.load import load_backbone


@dataclass(frozen=True)
class Images:
    """What a network expects of its images."""

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Converted:
    """What was written, and how far the network that it gives is from the one it was made of."""

    path: Path
    files: tuple[str, ...]
    said: tuple[str, ...]
    differences: dict[int, float]
    """Side of the image in pixels -> relative difference of all tokens."""


WRITERS: dict[str, Callable[[Reading], Written]] = {
    "safetensors": own.write,
    "timm": timm.write,
    "transformers": hugging_face.write,
    "dino": dino.write,
    "dinov2": dinov2.write,
    "dinov3": dinov3.write,
}
FOLDERS = ("timm", "transformers")
"""Layouts of a folder; the others are one file."""
LAYOUTS = (*WRITERS, "onnx")


def convert(source: str | Path, dest: Path, to: str, *, heads: int | None = None) -> Converted:
    """Write what `load_backbone(source)` gives to `dest`, a file or (timm, transformers) a folder.

    Raises `CheckpointError` where the layout can't hold this network, or `dest` holds something else already."""
    if to not in LAYOUTS:
        raise ConfigError(f"no layout {to!r}. Layouts: {', '.join(LAYOUTS)}.")
    refuse(dest, folder=to in FOLDERS)
    backbone = load_backbone(source, heads=heads)
    if to == "onnx":
        from dino_core.model.onnx import export

        dest.parent.mkdir(parents=True, exist_ok=True)
        said, apart = export(backbone, dest, expected_images(source, backbone, None).size)
        return Converted(dest, (dest.name,), said, apart)
    reading = described(backbone)
    written = WRITERS[to](reading)
    images = expected_images(source, backbone, reading)
    dest.parent.mkdir(parents=True, exist_ok=True)
    try:
        files = _save(written, reading, dest, to, images)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors have errors of their own for a disk
        raise CheckpointError(f"can't write {dest}: {str(error).partition(chr(10))[0]}.") from error
    again = load_backbone(dest, heads=backbone.heads or None)
    sizes = (images.size, round(1.5 * images.size / backbone.patch) * backbone.patch)
    apart = {size: difference(backbone, again, size) for size in sizes}
    return Converted(dest, files, written.said, apart)


def refuse(dest: Path, *, folder: bool) -> None:
    """Nothing of others is written over."""
    if folder and dest.is_file():
        raise CheckpointError(f"{dest} is a file; this layout is a folder.")
    if dest.is_dir() and (not folder or any(dest.iterdir())):
        raise CheckpointError(f"{dest} is a folder that holds something; give {'a new one' if folder else 'a file'}.")
    if dest.is_file():
        raise CheckpointError(f"{dest} exists; give another name.")


def expected_images(source: str | Path, backbone: Backbone, reading: Reading | None) -> Images:
    """A run says what its images were; of others those of ImageNet are taken, at the size of their positions."""
    model = _model_json(Path(source))
    if model:
        return Images(model["image_size"], tuple(model["mean"]), tuple(model["std"]))
    if reading is not None and isinstance(reading.architecture, LearnedVit):
        return Images(reading.architecture.grid * reading.architecture.patch)
    return Images(max(1, round(224 / backbone.patch)) * backbone.patch)


def _model_json(source: Path) -> dict[str, Any]:
    from dino_core.rundir.read import checkpoints
    from dino_core.rundir.schema import CHECKPOINTS, step_name

    folder = source.parent if source.is_file() else source
    if (folder / CHECKPOINTS).is_dir() and (steps := checkpoints(folder)):
        folder = folder / CHECKPOINTS / step_name(steps[-1])
    path = folder / "model.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _save(written: Written, reading: Reading, dest: Path, to: str, images: Images) -> tuple[str, ...]:
    tensors = {key: tensor.detach().contiguous() for key, tensor in written.tensors.items()}
    if to == "safetensors":
        save_file(tensors, dest, metadata=own.metadata(reading.architecture))
        return (dest.name,)
    if to not in FOLDERS:
        save_file(tensors, dest, metadata={"format": "pt"}) if dest.suffix == ".safetensors" else torch.save(
            tensors, dest
        )
        return (dest.name,)
    dest.mkdir(exist_ok=True)
    save_file(tensors, dest / "model.safetensors", metadata={"format": "pt"})
    files = {"config.json": timm_config(written, images)}
    if to == "transformers":
        files = {
            "config.json": {**written.config, "dtype": "float32"},
            "preprocessor_config.json": processor(written, images),
        }
    for name, content in files.items():
        (dest / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return ("model.safetensors", *files)


def timm_config(written: Written, images: Images) -> dict[str, Any]:
    """What `timm.create_model("local-dir:FOLDER")` builds from."""
    cfg = {
        "input_size": [3, images.size, images.size],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": list(images.mean),
        "std": list(images.std),
        "num_classes": 0,
    }
    return {**written.config, "num_classes": 0, "pretrained_cfg": cfg}


def processor(written: Written, images: Images) -> dict[str, Any]:
    """What `AutoImageProcessor` makes of an image: DINOv2's crops the middle, the others take all of it."""
    kinds = {"dinov2": "Bit", "dinov2_with_registers": "Bit", "dinov3_vit": "DINOv3ViT", "dinov3_convnext": "DINOv3ViT"}
    kind = kinds.get(written.config["model_type"], "ViT")
    square = {"height": images.size, "width": images.size}
    crop = {"do_center_crop": True, "crop_size": square, "size": {"shortest_edge": round(images.size * 256 / 224)}}
    return {
        "image_processor_type": f"{kind}ImageProcessor{'Fast' if kind == 'DINOv3ViT' else ''}",
        "do_resize": True,
        "resample": 2 if kind == "DINOv3ViT" else 3,  # bilinear, bicubic
        **(crop if kind == "Bit" else {"size": square}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(images.mean),
        "image_std": list(images.std),
        "do_convert_rgb": True,
    }
