"""Measuring a checkpoint: on the same test images for every run, each figure with what chance in those images may do to it.

Axes: I test images, C classes of parts, R resamplings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dino_core.config import TrainConfig
from dino_core.data.sources import open_source
from dino_core.evaluation.emergence import centred_box, overlaps, together
from dino_core.evaluation.images import LabelledImages, read_images
from dino_core.evaluation.knn import knn
from dino_core.evaluation.segmentation import confusion, iou_of, patch_ceiling, patch_classes
from dino_core.model import Tokens, load_backbone
from dino_core.probes import tokens_of
from dino_core.rundir.read import merge_segments, read_config, read_table
from dino_core.rundir.schema import CHECKPOINTS, EVENTS, METRICS, step_name

NEIGHBOURS = 20
RESAMPLINGS = 200
DENSE = 400
"""Images of either set whose patches are looked at."""
MONITORS = (
    *("loss", "kl", "teacher/entropy", "teacher/information", "prototypes/perplexity", "features/rankme"),
    *("patches/rankme", "patches/mean_cosine", "patches/cls_cosine", "attention/entropy"),
)
"""Of `metrics.jsonl`, the mean over the last tenth of the rows that have them."""


@dataclass(frozen=True)
class Images:
    """Labelled images that probes may learn from, and those that they are judged on."""

    train: LabelledImages
    test: LabelledImages

    @classmethod
    def of(cls, config: TrainConfig, train: int, test: int) -> Images:
        size = config.image_size
        known, unseen = (open_source(config.data, split=split) for split in ("train", "test"))
        return cls(read_images(known, train, size), read_images(unseen, test, size))

    def figures(self) -> dict[str, float | int]:
        """What there is to compare with: the centred box, everything, chance, and the most that whole patches allow."""
        masks, labels = self.test.first(DENSE).masks, self.test.labels
        found: dict[str, float | int] = {
            "train_images": len(self.train.images),
            "test_images": len(labels),
            "dense_images": DENSE,
            "knn_chance": float(torch.bincount(labels).max() / len(labels)),
        }
        if masks is not None:
            found |= {"attention_centred_box": centred_box(masks), "attention_everything": float(masks.float().mean())}
        return found


def look(run: Path, step: int, images: Images, on: str = "cpu") -> dict[str, dict[str, float]]:
    """`knn`, `attention` (Jaccard of the best head), `together` (of the mean of all heads), `pca` (IoU of the first component),
    `parts` (mIoU of a linear probe on patches; of object and background where no parts are known), each with `value` and
    half its 95 % interval `chance`.

    The intervals are those of other test images (bootstrap); of other seeds they know nothing."""
    config = read_config(run)
    backbone = load_backbone(str(run / CHECKPOINTS / step_name(step)), device=on)
    mean, std, device = config.crops.mean, config.crops.std, torch.device(on)
    known, _ = tokens_of(backbone, images.train.images, mean, std, device, attend=False)
    seen, attention = tokens_of(backbone, images.test.images, mean, std, device)
    known, seen = (on_cpu(tokens) for tokens in (known, seen))
    attention = None if attention is None else attention.cpu()
    right = knn(known.cls, images.train.labels, seen.cls, k=NEIGHBOURS) == images.test.labels
    found = {"knn": resampled(right.float())}
    train, test = images.train.first(DENSE), images.test.first(DENSE)
    attention = None if attention is None else attention[:DENSE]
    if test.masks is not None:
        component, heads = overlaps(attention, seen.patches[:DENSE], seen.grid, test.masks)
        found["pca"] = resampled(component)
        if heads is not None:
            found["attention"] = resampled(heads, lambda rows: rows.mean(-2).amax(-1))
            found["together"] = resampled(together(attention, seen.grid, test.masks))
    truth = [part.parts if part.parts is not None else part.masks for part in (train, test)]
    if truth[0] is not None and truth[1] is not None:
        learnt, wanted = (t.long() for t in truth if t is not None)
        classes = int(max(learnt.max(), wanted.max())) + 1
        called = patch_classes(known.patches[:DENSE], learnt, seen.patches[:DENSE], seen.grid)
        counts = confusion(called, wanted, seen.grid, classes)
        found["parts"] = resampled(counts, lambda some: iou_of(some.sum(0)))
        found["parts"]["ceiling"] = patch_ceiling(wanted, seen.grid)
    return found


def on_cpu(tokens: Tokens) -> Tokens:
    return Tokens(*(part.cpu() for part in tokens[:3]), tokens.grid)


def resampled(
    rows: Float[Tensor, "I *rest"], statistic: Callable[[Tensor], Tensor] = lambda rows: rows.mean(0)
) -> dict[str, float]:
    """A statistic of the test images, and half the 95 % interval that other images of the same kind would give it."""
    draw = torch.Generator().manual_seed(0)
    picks = torch.randint(len(rows), (RESAMPLINGS, len(rows)), generator=draw)
    values = torch.stack([statistic(rows[pick]) for pick in picks])  # R
    low, high = values.quantile(0.025), values.quantile(0.975)
    return {"value": float(statistic(rows)), "chance": float(high - low) / 2}


def monitors(run: Path, until: int) -> dict[str, float]:
    """What the run said of itself around a step."""
    rows = [row for row in merge_segments(read_table(run / METRICS)[0]) if row["step"] <= until]
    found = {}
    for name in MONITORS:
        values = [row[name] for row in rows if isinstance(row.get(name), float)]
        if values:
            found[name] = fmean(values[-max(1, len(values) // 10) :])
    return found


def findings(run: Path) -> list[dict[str, Any]]:
    """What the diagnosis raised and did not take back."""
    said: dict[str, dict[str, Any]] = {}
    for event in read_table(run / EVENTS)[0]:
        if event["event"] == "diagnosis" and event["level"] != "healthy":
            said[event["name"]] = {key: event[key] for key in ("step", "name", "level", "cleared")}
    return list(said.values())
