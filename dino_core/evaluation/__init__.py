"""What features are worth: k-NN, a linear probe, and how well attention and PCA find the object."""

from __future__ import annotations

from dino_core.evaluation.emergence import emergence
from dino_core.evaluation.images import LabelledImages, read_images
from dino_core.evaluation.knn import knn
from dino_core.evaluation.linear import linear_probe

__all__ = ["LabelledImages", "emergence", "knn", "linear_probe", "read_images"]
