"""What one step computes for one image of a checkpoint, as tensors: crops, boxes, and the logits of both networks.

`stages` is asked by the page and keeps what the worker computed; `computed` runs in the worker's process and imports torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from dino_core.errors import RunError
from dino_core.rundir.schema import PROBE_IMAGES
from dino_core.schedules import Schedule
from lab import cache
from lab.run import Run
from lab.worker import Worker

LARGEST_SEED = 2**31 - 1


Like = tuple[Run, int]
"""A run and a step: its probe images, cropped as it crops then."""


def stages(worker: Worker, run: Run, step: int, image: int, seed: int, like: Like | None = None) -> bytes:
    """Safetensors for the page: `image` and the crops in eight bits, `boxes` (S 4) and `flipped` (S) of all crops,
    `student` (S K), `teacher` (T K), `centre` (K), `student_length` (S) and `teacher_length` (T) of the vectors that the heads
    bring to length 1; what they are is said beside them.  With `like` they are those of another run, as it crops them."""
    shown, _ = like or (run, step)
    folder, images = run.checkpoint_folder(step), shown.path / PROBE_IMAGES
    count = len(shown.probe_images.images)
    if not 0 <= image < count:
        raise RunError(f"there is no image {image}; the run is probed with {count}, 0 to {count - 1}.")
    if not 0 <= seed <= LARGEST_SEED:
        raise RunError(f"the seed is {seed}; expected 0 to {LARGEST_SEED}.")
    state = folder / "state" / ".metadata"
    files = [folder / "teacher.safetensors", folder / "model.json", images, run.path / "config.json"]
    others = [] if like is None else [like[0].path / "config.json"]
    print_ = cache.fingerprint(*files, *others, *([state] if state.is_file() else []))
    entry = cache.entry("stages2", print_, step, image, seed, *([] if like is None else [like[1]]))
    question = {"do": "stages", "run": str(run.path), "step": step, "image": image, "seed": seed}
    if like is not None:
        question["like"] = [str(like[0].path), like[1]]
    known = worker.kept(entry, question)
    said = json.loads(bytes(known.pop("said")).decode())
    return save(known, {"said": json.dumps(said)})


def computed(question: dict[str, Any]) -> dict[str, Any]:
    """Compute it and put it into its entry of the cache."""
    path, at = question.get("like") or (question["run"], question["step"])
    like = (Run(path), at)
    arrays, said = tensors(Run(question["run"]), question["step"], question["image"], question["seed"], like)
    text = np.frombuffer(json.dumps(said).encode(), np.uint8)
    cache.store(Path(question["entry"]), {**arrays, "said": text})
    return {"entry": question["entry"]}


def tensors(
    run: Run, step: int, image: int, seed: int, like: Like | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of `stages`, and what is said beside them.  All probe images are the batch; one of them is shown.

    Networks are in eval mode; where the checkpoint kept no student (recorded runs), the teacher stands in for it."""
    import torch

    from dino_core.model import load_teacher
    from lab.resumable import load_student

    config = run.config.phase(run.config.phase_before(step))
    shown, at = like or (run, step)
    theirs = shown.config.phase(shown.config.phase_before(at)).crops
    crops = replace(theirs, mean=config.crops.mean, std=config.crops.std)
    pixels = torch.from_numpy(shown.probe_images.images.copy())
    folder = run.checkpoint_folder(step)
    teacher, student = load_teacher(folder), load_student(folder)
    now = Schedule(config).at(max(config.start, min(step, (config.steps or 1) - 1)))
    heard = _heard(teacher, student, _cropped(pixels, crops, seed), image)
    centre = _centre(folder, heard.logits, now.teacher_temperature, config.objective.centering, image)
    loss = _loss(heard, image, centre, now.teacher_temperature, now.student_temperature)
    arrays = _arrays(heard, pixels[image], image, crops, centre)
    weights = {
        "KoLeo": config.objective.koleo_weight, "iBOT": config.ibot.weight, "Gram anchoring": config.gram.weight,
    }  # fmt: skip
    said = {
        "step": step, "teacher_temperature": now.teacher_temperature, "student_temperature": now.student_temperature,
        "centering": config.objective.centering, "momentum": config.objective.centre_momentum, "loss": loss,
        "has_student": student is not None, "local_weight": config.objective.local_weight * now.weights.local,
        "others": [f"{name} (weight {weight:g})" for name, weight in weights.items() if weight],
        "images": len(pixels), "distilled": "distilled_from" in run.about, "learning_rate": now.learning_rate, "ema": now.momentum,
    }  # fmt: skip
    return arrays, said


def published(source: str, pixels: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The same for one image (1 S S 3) and a full checkpoint as published, with the crops of the 2021 paper.

    Its student where it holds one with a head, its centre and temperatures where it says them: else 0, 0.04 and 0.1.
    `CheckpointError` for a file without a head."""
    import torch

    from dino_core import config
    from dino_core.model import Network, load_backbone, load_head

    head = load_head(source)
    teacher = Network(load_backbone(source), head.head)
    student = None
    if "student" in head.networks:
        student = Network(load_backbone(source, which="student"), load_head(source, which="student").head)
    patch = teacher.backbone.patch
    crops = config.Crops(global_size=max(1, round(224 / patch)) * patch, local_size=max(1, round(96 / patch)) * patch)
    image = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).contiguous()
    heard = _heard(teacher, student, _cropped(image, crops, seed), 0)
    centre = heard.logits.new_zeros(heard.logits.shape[-1]) if head.centre is None else head.centre
    temperatures = head.teacher_temperature or 0.04, head.student_temperature or 0.1
    loss = _loss(heard, 0, centre, *temperatures)
    arrays = _arrays(heard, image[0], 0, crops, centre)
    said = {
        "step": None, "teacher_temperature": temperatures[0], "student_temperature": temperatures[1],
        "centering": "none" if head.centre is None else "centre", "momentum": head.centre_momentum or 0.9,
        "loss": loss, "has_student": student is not None, "local_weight": 1.0, "others": [], "images": 1,
        "distilled": False, "says": [head.centre is not None, head.teacher_temperature is not None],
    }  # fmt: skip
    return arrays, said


@dataclass(frozen=True)
class _Heard:
    """What both networks say of one image's crops."""

    views: Any
    """Of the whole batch (`dino_core.data.multicrop`)."""
    logits: Any
    """The teacher's of the whole batch (T B K)."""
    student: Any
    """Of the one image (S K)."""
    lengths: tuple[np.ndarray, np.ndarray]
    """Teacher's (T) and student's (S), before the head makes them 1."""


def _cropped(pixels: Any, crops: Any, seed: int) -> Any:
    """All crops of some images (B 3 Y X), as a training step makes them."""
    import torch

    from dino_core.data.multicrop import MultiCrop
    from dino_core.data.views import Decoded

    count = len(pixels)
    sizes = torch.tensor(pixels.shape[2:]).repeat(count, 1)
    decoded = Decoded(pixels, sizes, torch.full((count,), -1), torch.arange(count))
    return MultiCrop(crops)(decoded, torch.Generator().manual_seed(seed))


def _heard(teacher: Any, student: Any | None, views: Any, image: int) -> _Heard:
    """The teacher on the global crops of the batch, the student (or the teacher for it) on all crops of one image."""
    import torch

    speaker = (student or teacher).eval()
    with torch.inference_mode():
        heard = teacher.eval()([views.globals], patches=False)
        ours = [part[:, image : image + 1] for part in (views.globals, views.locals) if len(part)]
        answer = speaker(ours, patches=False)
        lengths = _lengths(teacher, heard.cls[:, image]), _lengths(speaker, answer.cls[:, 0])
    return _Heard(views, heard.logits, answer.logits[:, 0], lengths)


def _loss(heard: _Heard, image: int, centre: Any, teacher_temperature: float, student_temperature: float) -> float:
    from dino_core.objective.terms import cross_view

    targets = ((heard.logits[:, image] - centre) / teacher_temperature).softmax(-1)
    return float(cross_view(heard.student[:, None], targets[:, None], student_temperature))


def _arrays(heard: _Heard, picture: Any, image: int, crops: Any, centre: Any) -> dict[str, np.ndarray]:
    """What `stages` promises, of one image of the batch."""
    import torch

    views, boxes = heard.views, (heard.views.global_boxes, heard.views.local_boxes)
    arrays = {
        "image": _bytes(picture), "boxes": torch.cat([box.corners[:, image] for box in boxes]).numpy().astype(np.float32),
        "flipped": torch.cat([box.flipped[:, image] for box in boxes]).numpy().astype(np.uint8), "centre": centre.numpy(),
        "student": heard.student.contiguous().numpy(), "teacher": heard.logits[:, image].contiguous().numpy(),
        "teacher_length": heard.lengths[0], "student_length": heard.lengths[1],
    }  # fmt: skip
    for name, part in (("globals", views.globals), ("locals", views.locals)):
        if len(part):
            arrays[name] = np.stack([_bytes(_shown(crop, crops)) for crop in part[:, image]])
    return arrays


def _centre(folder: Path, logits: Any, temperature: float, way: str, image: int) -> Any:
    """What is subtracted from this image's logits: the moving centre; for Sinkhorn-Knopp the one that has the same effect.

    Sinkhorn-Knopp multiplies each prototype's column by a factor f_k and ends with rows of sum 1, which is
    softmax(z/τ + log f) = softmax((z - c)/τ) with c = -τ log f: a centre that this very batch decides."""
    import torch
    from safetensors.torch import load_file

    from dino_core.objective.targets import sinkhorn

    if way == "none":
        return logits.new_zeros(logits.shape[-1])
    if way == "sinkhorn":
        rows = logits.flatten(0, 1).double()
        row = logits[0, image].double()
        balanced = sinkhorn(rows, temperature)[image].clamp_min(torch.finfo(torch.float64).tiny)
        centre = row - temperature * balanced.log()
        return (centre - centre.mean()).float()
    stored = load_file(folder / "teacher.safetensors")
    found = stored.get("objective.centering.centre")
    return logits.new_zeros(logits.shape[-1]) if found is None else found.float()


def _lengths(network: Any, cls: Any) -> np.ndarray:
    """(V D) → (V) lengths of the bottleneck's vectors before the head brings them to 1."""
    return network.head.mlp(cls).norm(dim=-1).float().numpy()


def _shown(crop: Any, crops: Any) -> Any:
    """A normalised crop as colours again."""
    import torch

    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (crops.mean, crops.std))
    return ((crop * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def _bytes(picture: Any) -> np.ndarray:
    """(3 Y X) → (Y X 3)."""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
