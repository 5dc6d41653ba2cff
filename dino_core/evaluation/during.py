"""What is measured while training: k-NN, and the emergence of segmentation, with the baselines every figure draws beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from dino_core.config import TrainConfig
from dino_core.data.sources import Source, open_source
from dino_core.evaluation.emergence import centred_box, emergence
from dino_core.evaluation.images import LabelledImages, read_images
from dino_core.evaluation.knn import accuracy, knn
from dino_core.model import Network
from dino_core.probes import look

MASKED = 200
"""Images on which attention and PCA are measured."""
RAW = 32
"""Side to which images are reduced for k-NN on raw pixels."""


@dataclass(frozen=True)
class Evaluator:
    """Labelled images read once, and what is asked of a network on them."""

    config: TrainConfig
    train: LabelledImages
    test: LabelledImages
    broken: dict[str, str] = field(default_factory=dict)
    """Held-out images that can't be read, and why."""

    @classmethod
    def of(cls, config: TrainConfig, train: Source) -> Evaluator:
        wanted, size = config.evaluation, config.image_size
        broken: dict[str, str] = {}
        known = read_images(train, wanted.train_images, size)
        seen = read_images(open_source(config.data, split="test"), wanted.test_images, size, broken=broken)
        return cls(config, known, seen, broken)

    def measure(self, networks: dict[str, Network], device: torch.device) -> dict[str, float]:
        """`knn/teacher`, `knn/student`, and of the teacher `jaccard/*` and `pca_iou`; what the data does not allow is left out."""
        found: dict[str, float] = {}
        if self.train.labelled and self.test.labelled:
            found |= {f"knn/{name}": self.knn(network, device) for name, network in networks.items()}
        if self.test.masks is not None and "teacher" in networks:
            some, masks = self.test.first(MASKED), self.test.masks[:MASKED]
            tokens, attention = look(networks["teacher"], some, self.config, device)
            found |= emergence(attention, tokens.patches, tokens.grid, masks.to(device))
        return found

    def knn(self, network: Network, device: torch.device) -> float:
        train, test = (
            look(network, part, self.config, device, attend=False)[0].cls for part in (self.train, self.test)
        )
        labels = self.train.labels.to(device)
        predicted = knn(train.float(), labels, test.float(), k=self.config.evaluation.neighbours)
        return accuracy(predicted, self.test.labels.to(device))

    def baselines(self, untrained: dict[str, float]) -> dict[str, float]:
        """What any claim has to pass: raw pixels, the untrained network, the best centred box, everything marked as object."""
        found = {
            f"{name.replace('/', '_')}_untrained": value for name, value in untrained.items() if "head_" not in name
        }
        if self.train.labelled and self.test.labelled:
            raw = [F.adaptive_avg_pool2d(part.images.float(), RAW).flatten(1) for part in (self.train, self.test)]
            mean = raw[0].mean(0)
            predicted = knn(raw[0] - mean, self.train.labels, raw[1] - mean, k=self.config.evaluation.neighbours)
            found["knn_raw_pixels"] = accuracy(predicted, self.test.labels)
        if self.test.masks is not None:
            masks = self.test.masks[:MASKED]
            found["jaccard_centred_box"] = centred_box(masks)
            found["jaccard_everything"] = float(masks.float().mean())
        return found
