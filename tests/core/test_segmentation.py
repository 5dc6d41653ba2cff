"""The patch probe against a loop over pixels."""

from __future__ import annotations

import torch

from dino_core.evaluation.segmentation import majority, mean_iou, patch_ceiling, patch_segmentation


def scenes(count: int, seed: int = 0) -> torch.Tensor:
    """Rectangles of classes 1 and 2 on a background of 0."""
    draw = torch.Generator().manual_seed(seed)
    parts = torch.zeros(count, 12, 12, dtype=torch.int64)
    for scene in parts:
        for kind in (1, 2):
            top, left = torch.randint(0, 8, (2,), generator=draw).tolist()
            scene[top : top + 5, left : left + 5] = kind
    return parts


def test_a_patch_has_the_class_of_most_of_its_pixels():
    parts = scenes(3)
    found = majority(parts, (3, 4))
    for i in range(3):
        for r in range(3):
            for c in range(4):
                cell = parts[i, 4 * r : 4 * r + 4, 3 * c : 3 * c + 3].flatten().tolist()
                most = max(cell.count(k) for k in (0, 1, 2))
                assert cell.count(int(found[i, 4 * r + c])) == most


def test_mean_iou_counts_pixels_of_classes_that_are_there():
    parts, patches = scenes(4), torch.randint(0, 3, (4, 9), generator=torch.Generator().manual_seed(1))
    ious = []
    for kind in (0, 1, 2):
        both = either = 0
        for i in range(4):
            for y in range(12):
                for x in range(12):
                    said = int(patches[i, 3 * (y // 4) + x // 4]) == kind
                    true = int(parts[i, y, x]) == kind
                    both += said and true
                    either += said or true
        ious.append(both / either)
    assert abs(mean_iou(patches, parts, (3, 3)) - sum(ious) / 3) < 1e-6


def test_patches_that_know_their_class_reach_the_ceiling_and_noise_does_not():
    train, test = scenes(60), scenes(40, seed=5)
    codes = torch.eye(3)
    known, seen = codes[majority(train, (6, 6))], codes[majority(test, (6, 6))]
    ceiling = patch_ceiling(test, (6, 6))
    assert 0.5 < ceiling < 1
    assert abs(patch_segmentation(known, train, seen, test, (6, 6)) - ceiling) < 1e-6
    noise = torch.randn(40, 36, 3, generator=torch.Generator().manual_seed(2))
    assert patch_segmentation(known, train, noise, test, (6, 6)) < 0.75 * ceiling
