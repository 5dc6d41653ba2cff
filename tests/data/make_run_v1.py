"""Write `run_v1`, the golden run directory of format 1, which every later version must open.

By hand, without our writer, so that it also holds the readers to FORMAT.md.  It shows what a real run may leave behind:
a process that was killed between two checkpoints and resumed, a torn line, values that are not finite, an unfinished
draft, every kind of event.

    python tests/data/make_run_v1.py"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

RUN = Path(__file__).parent / "run_v1"
IMAGES, SIDE, PATCH, DIM, DEPTH, HEADS, PROTOTYPES = 4, 32, 8, 16, 2, 2, 32
GRID = SIDE // PATCH
BACKBONE = {
    "name": "vit", "patch": PATCH, "dim": DIM, "depth": DEPTH, "heads": HEADS, "mlp_ratio": 2.0, "registers": 1,
    "drop_path": 0.0,
}  # fmt: skip
HEAD = {"prototypes": PROTOTYPES, "hidden": 24, "bottleneck": 8, "layers": 2, "frozen_gain": True, "batch_norm": False}
CONFIG = {
    "recipe": "tiny",
    "steps": 500,
    "batch_size": 8,
    "data": {"source": "shapes", "shapes": {"images": 64, "size": SIDE}},
    "crops": {"global_size": SIDE, "local_size": 16, "local_crops": 2},
    "backbone": BACKBONE,
    "head": HEAD,
    "schedules": {"lr_warmup": 0.1, "momentum": [0.99, 1.0], "teacher_temperature": [0.04, 0.06]},
    "evaluation": {"every": 250},
    "output": {"checkpoint_every": 200},
    "machine": {"device": "cpu", "precision": "fp32", "threads": 1},
}
UNITS = {
    "loss": "nats", "teacher/entropy": "nats", "kl": "nats", "student/entropy": "nats",
    "teacher/mean_entropy": "nats", "target/mean_entropy": "nats", "teacher/information": "nats",
    "prototypes/perplexity": "prototypes", "prototypes/largest_share": "share", "prototypes/dead": "share",
    "centre/norm": "logits", "centre/movement": "logits", "gradient/backbone": "norm", "gradient/head": "norm",
    "features/std": "ratio", "features/rankme": "dimensions", "patches/mean_cosine": "cosine",
    "attention/entropy": "nats", "attention/entropy/head_0": "nats", "attention/entropy/head_1": "nats",
    "lr": "per step", "momentum": "share", "teacher_temperature": "temperature", "images_per_second": "images/s",
    "time/data": "ms", "time/student": "ms", "knn/teacher": "share", "knn/student": "share",
    "jaccard/best_head": "share", "pca_iou": "share",
}  # fmt: skip
BETTER = {
    "features/rankme": "higher", "knn/teacher": "higher", "jaccard/best_head": "higher", "prototypes/dead": "lower",
}  # fmt: skip


def metrics(step: int) -> dict[str, float]:
    """What a healthy run of 500 steps logs, smoothly."""
    share = step / 500
    largest = math.log(PROTOTYPES)
    entropy = largest * (0.55 + 0.3 * share)
    kl = 0.25 + 0.9 * math.exp(-6 * share)
    spread = largest * (0.75 + 0.2 * share)
    row = {
        "loss": entropy + kl, "teacher/entropy": entropy, "kl": kl, "student/entropy": entropy + 0.3,
        "teacher/mean_entropy": spread, "target/mean_entropy": spread + 0.01, "teacher/information": spread - entropy,
        "prototypes/perplexity": math.exp(spread), "prototypes/largest_share": 0.4 - 0.25 * share,
        "prototypes/dead": 0.5 * (1 - share), "centre/norm": 0.2 + 0.5 * share, "centre/movement": 0.05 * (1 - share),
        "gradient/backbone": 1.5 - share, "gradient/head": 0.8 - 0.3 * share, "features/std": 0.6 + 0.3 * share,
        "lr": 5e-4 * min(1.0, 10 * share), "momentum": 0.99 + 0.01 * share, "teacher_temperature": 0.04 + 0.02 * share,
        "images_per_second": 80.0, "time/data": 3.0, "time/student": 40.0,
    }  # fmt: skip
    if step % 50 == 0:
        row |= {
            "features/rankme": 4 + 8 * share, "patches/mean_cosine": 0.7 - 0.3 * share,
            "attention/entropy": 2.6 - share, "attention/entropy/head_0": 2.5 - share,
            "attention/entropy/head_1": 2.7 - share,
        }  # fmt: skip
    if step % 250 == 0:
        knn = 0.4 + 0.4 * share
        row |= {"knn/teacher": knn, "knn/student": knn - 0.05, "jaccard/best_head": 0.2 + 0.2 * share, "pca_iou": 0.3}
    return {name: float(f"{value:.7g}") for name, value in row.items()}


def write_metrics() -> None:
    """Segment 0 died at step 400, after its checkpoint at 300; segment 1 went on from there."""
    lines = []
    for segment, steps in ((0, range(10, 401, 10)), (1, range(310, 501, 10))):
        for step in steps:
            row: dict[str, Any] = {"step": step, "segment": segment, "seconds": step / 10, "images": 8 * step}
            lines.append(json.dumps(row | metrics(step) | {"segment": segment}))
    odd = json.loads(lines[6])
    nonfinite = {"loss": "nan", "gradient/head": "inf"}
    lines[6] = json.dumps(odd | dict.fromkeys(nonfinite) | {"nonfinite": nonfinite})
    lines.insert(40, lines[39][:57])  # the disk was full
    text = "\n".join(lines) + "\n" + '{"step": 510, "segment": 1, "lo'  # killed while it wrote
    (RUN / "metrics.jsonl").write_text(text)


def write_events() -> None:
    happened: list[tuple[int, int, str, dict[str, Any]]] = [
        (0, 0, "started", {}),
        (0, 0, "note", {"text": "32 prototypes: one for about 2 of 64 images"}),
        (0, 0, "probe", {"path": "probes/step_00000000"}),
        (0, 12, "skipped_image", {"name": "broken <b>.png", "reason": "truncated file"}),
        (0, 70, "skipped_step", {"cause": "the loss was nan"}),
        (0, 200, "probe", {"path": "probes/step_00000200"}),
        (0, 200, "checkpoint", {"path": "checkpoints/step_00000200", "state": False}),
        (0, 250, "evaluation", {"knn/teacher": 0.6, "knn/student": 0.55, "jaccard/best_head": 0.3, "pca_iou": 0.3}),
        (0, 310, "disk_full", {"sentence": "The disk is full: 2 lines wait in memory."}),
        (0, 350, "stopped", {"why": "the cluster asked (SIGTERM)"}),
        (1, 300, "resumed", {"from": "checkpoints/step_00000300"}),
        (1, 330, "diagnosis", {
            "name": "uniform_collapse", "level": "watch",
            "sentence": "The teacher says nearly the same for every image.",
            "evidence": {"kl": {"value": 0.05, "threshold": 0.069}}, "advice": "Lower the teacher temperature.",
            "cleared": False,
        }),
        (1, 360, "diagnosis", {
            "name": "uniform_collapse", "level": "healthy", "sentence": "The teacher tells images apart again.",
            "evidence": {}, "advice": "", "cleared": True,
        }),
        (1, 400, "failed", {"why": "out of memory"}),
        (1, 500, "evaluation", {"knn/teacher": 0.8, "knn/student": 0.75, "jaccard/best_head": 0.4, "pca_iou": 0.3}),
        (1, 500, "probe", {"path": "probes/step_00000500"}),
        (1, 500, "checkpoint", {"path": "checkpoints/step_00000500", "state": False}),
        (1, 500, "finished", {}),
    ]  # fmt: skip
    lines = [
        json.dumps({"event": kind, "step": step, "time": f"2026-11-03T14:{12 + i:02d}:09Z", "segment": segment, **more})
        for i, (segment, step, kind, more) in enumerate(happened)
    ]
    (RUN / "events.jsonl").write_text("\n".join(lines) + "\n")


def write_probes(random: np.random.Generator) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centres = random.integers(10, SIDE - 10, (IMAGES, 2))
    masks = np.stack([(rows - r) ** 2 + (columns - c) ** 2 < 64 for r, c in centres])
    colours = np.array([(220, 90, 40), (40, 120, 220)])[np.arange(IMAGES) % 2]
    noise = random.integers(-12, 12, (IMAGES, 3, SIDE, SIDE))
    images = np.where(masks[:, None], colours[:, :, None, None], 128) + noise
    (RUN / "probes").mkdir(parents=True)
    fixed = {"images": images.clip(0, 255).astype(np.uint8), "labels": np.arange(IMAGES) % 2}
    save_file(fixed | {"masks": masks.astype(np.uint8)}, RUN / "probes" / "images.safetensors")
    cover = masks.reshape(IMAGES, GRID, PATCH, GRID, PATCH).mean((2, 4)).reshape(IMAGES, GRID * GRID)
    for step in (0, 200, 500):
        learnt = step / 500
        tensors = {}
        for who in ("teacher", "student"):
            patches = random.normal(size=(IMAGES, GRID * GRID, DIM))
            patches[..., 0] += 4 * learnt * (2 * cover - 1)
            attention = np.exp(random.normal(size=(IMAGES, HEADS, GRID * GRID)) + 3 * learnt * cover[:, None])
            tensors |= {
                f"{who}.cls": random.normal(size=(IMAGES, DIM)), f"{who}.patches": patches,
                f"{who}.attention": 0.9 * attention / attention.sum(-1, keepdims=True),
                f"{who}.logits": random.normal(size=(IMAGES, PROTOTYPES)),
            }  # fmt: skip
        folder = RUN / "probes" / f"step_{step:08d}"
        folder.mkdir()
        tensors = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
        save_file(tensors, folder / "tensors.safetensors", {"grid": f"{GRID} {GRID}", "step": str(step)})


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of teacher.safetensors in format 1."""
    hidden, bottleneck, mlp = HEAD["hidden"], HEAD["bottleneck"], int(BACKBONE["mlp_ratio"] * DIM)
    found: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, DIM), "reg_token": (1, 1, DIM), "pos_embed": (1, GRID * GRID + 2, DIM),
        "patch_embed.proj.weight": (DIM, 3, PATCH, PATCH), "patch_embed.proj.bias": (DIM,),
        "norm.weight": (DIM,), "norm.bias": (DIM,),
    }  # fmt: skip
    for block in range(DEPTH):
        found |= {
            f"blocks.{block}.{name}": shape
            for name, shape in {
                "norm1.weight": (DIM,), "norm1.bias": (DIM,), "norm2.weight": (DIM,), "norm2.bias": (DIM,),
                "attn.qkv.weight": (3 * DIM, DIM), "attn.qkv.bias": (3 * DIM,),
                "attn.proj.weight": (DIM, DIM), "attn.proj.bias": (DIM,),
                "mlp.fc1.weight": (mlp, DIM), "mlp.fc1.bias": (mlp,),
                "mlp.fc2.weight": (DIM, mlp), "mlp.fc2.bias": (DIM,),
            }.items()
        }  # fmt: skip
    return {f"backbone.model.{name}": shape for name, shape in found.items()} | {
        "head.mlp.0.weight": (hidden, DIM), "head.mlp.0.bias": (hidden,),
        "head.mlp.2.weight": (bottleneck, hidden), "head.mlp.2.bias": (bottleneck,),
        "head.prototypes.directions": (PROTOTYPES, bottleneck), "objective.centering.centre": (PROTOTYPES,),
    }  # fmt: skip


def write_checkpoints(random: np.random.Generator) -> None:
    for step in (200, 500):
        folder = RUN / "checkpoints" / f"step_{step:08d}"
        folder.mkdir(parents=True)
        tensors = {name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes().items()}
        tensors |= {name: np.ones_like(t) for name, t in tensors.items() if "norm" in name and name.endswith("weight")}
        save_file(tensors, folder / "teacher.safetensors")
        model = {
            "format": 1, "step": step, "backbone": BACKBONE, "head": HEAD, "prototypes": PROTOTYPES,
            "image_size": SIDE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }  # fmt: skip
        (folder / "model.json").write_text(json.dumps(model, indent=2) + "\n")
    draft = RUN / "checkpoints" / ".step_00000300.draft"
    draft.mkdir()
    (draft / "teacher.safetensors").write_bytes(b"half")


def write_run() -> None:
    catalogue = {
        name: {"unit": unit, "better": BETTER.get(name), "title": name.replace("/", " "), "about": f"The {name}."}
        for name, unit in UNITS.items()
    }
    run = {
        "format": 1, "name": "run_v1", "recipe": "tiny", "status": "finished", "segment": 1,
        "created": "2026-11-03T14:12:09Z", "updated": "2026-11-03T14:29:09Z", "pid": 4242, "host": "laptop",
        "world_size": 1, "device": "cpu", "commit": None, "steps": 500, "images": 64, "classes": ["fish", "tree"],
        "versions": {"python": "3.11.7", "torch": "2.14.1", "timm": "1.0.31", "dino_lab": "0.1.0"}, "parent": None,
        "derived": ["32 prototypes: one for about 2 of 64 images"],
        "baselines": {"knn_raw_pixels": 0.61, "knn_untrained": 0.38, "jaccard_centred_box": 0.311}, "gallery": False,
        "metrics": catalogue,
    }  # fmt: skip
    (RUN / "run.json").write_text(json.dumps(run, indent=1) + "\n")
    (RUN / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


if __name__ == "__main__":
    shutil.rmtree(RUN, ignore_errors=True)
    random = np.random.default_rng(0)
    write_probes(random)
    write_checkpoints(random)
    write_metrics()
    write_events()
    write_run()
