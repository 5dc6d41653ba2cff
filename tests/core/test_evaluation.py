"""k-NN, linear probe and emergence against their equations, and the labelled images they are measured on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dino_core.config import Data, Shapes
from dino_core.data.sources import open_source
from dino_core.evaluation import knn, linear_probe, read_images
from dino_core.evaluation.contrast import contrast
from dino_core.evaluation.emergence import centred_box, emergence, first_component, otsu


def knn_oracle(train, labels, test, k, temperature):
    predicted = []
    for x in test:
        similarity = [float(x @ y / (x.norm() * y.norm())) for y in train]
        nearest = sorted(range(len(train)), key=lambda i: -similarity[i])[:k]
        votes = {}
        for i in nearest:
            votes[int(labels[i])] = votes.get(int(labels[i]), 0.0) + math.exp(similarity[i] / temperature)
        predicted.append(max(votes, key=lambda c: votes[c]))
    return predicted


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5)])
def test_knn_votes_like_the_loop(k, temperature):
    torch.manual_seed(k)
    train, test = torch.randn(80, 6, dtype=torch.float64).split([50, 30])
    labels = torch.randint(0, 4, (50,))
    predicted = knn(train, labels, test, k=k, temperature=temperature)
    assert predicted.tolist() == knn_oracle(train, labels, test, k, temperature)


def test_knn_with_fewer_rows_than_k_lets_all_vote():
    train, labels = torch.eye(3), torch.tensor([2, 0, 1])
    assert knn(train, labels, train, k=200).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="at least one training row"):
        knn(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), train)


def test_the_linear_probe_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression  # two seconds, for one test

    torch.manual_seed(0)
    centres = torch.randn(3, 5) * 1.5
    labels = torch.randint(0, 3, (300,))
    x = centres[labels] + torch.randn(300, 5)
    train, test = x[:200], x[200:]
    ours = linear_probe(train, labels[:200], test, decay=1e-2)
    z = (x - train.mean(0)) / train.std(0, correction=0)
    theirs = LogisticRegression(C=1 / (1e-2 * 200), tol=1e-8, max_iter=2000).fit(z[:200].numpy(), labels[:200].numpy())
    assert (ours.numpy() == theirs.predict(z[200:].numpy())).mean() > 0.98


def test_otsu_finds_the_gap_between_two_groups():
    values = torch.tensor([[0.0, 0.1, 0.2, 5.0, 5.1], [1.0, 9.0, 9.1, 9.2, 8.9]])
    cut = otsu(values)
    assert 0.2 < cut[0] < 5.0
    assert 1.0 < cut[1] < 8.9


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of a 6 × 6 grid whose object, off the border, points elsewhere in feature space; and its mask in pixels."""
    torch.manual_seed(3)
    inside = torch.zeros(2, 6, 6, dtype=torch.bool)
    inside[0, 1:4, 2:5] = inside[1, 3:5, 1:3] = True
    patches = torch.randn(2, 36, 8) * 0.1
    patches[inside.flatten(1)] += torch.linspace(-2, 3, 8)
    return patches, inside.repeat_interleave(4, 1).repeat_interleave(4, 2)


def test_pca_and_attention_find_an_object_that_is_there():
    patches, masks = scene()
    small = masks[:, ::4, ::4].flatten(1).float()
    attention = torch.stack([small, 1 - small], dim=1) + 1e-4  # one head looks at it, one away
    found = emergence(attention / attention.sum(-1, keepdim=True), patches, (6, 6), masks)
    assert found["pca_iou"] == pytest.approx(1.0)
    assert found["jaccard/best_head"] == found["jaccard/head_0"] > 0.5
    assert found["jaccard/head_1"] < 0.05


def test_heads_together_are_the_patches_that_hold_most_of_their_mean():
    """Each head looks at one half of the object: neither finds it, both together do."""
    _, masks = scene()
    small = masks[:, ::4, ::4]
    rows = torch.arange(6)[None, :, None]
    halves = [small & (rows % 2 == 0), small & (rows % 2 == 1)]
    attention = torch.stack([half.flatten(1).float() for half in halves], dim=1)
    found = emergence(attention, torch.randn(2, 36, 8), (6, 6), masks)
    expected = []
    for image in range(2):
        mean = attention[image].mean(0).tolist()
        kept, held = set(), 0.0
        for patch in sorted(range(36), key=lambda n: -mean[n]):
            if held >= 0.6 * sum(mean):
                break
            kept.add(patch)
            held += mean[patch]
        true = {n for n in range(36) if small[image].flatten()[n]}
        expected.append(len(kept & true) / len(kept | true))
    assert found["jaccard/heads_together"] == pytest.approx(sum(expected) / 2)
    assert found["jaccard/heads_together"] > found["jaccard/best_head"]


def test_the_first_component_does_not_care_about_the_sign_of_features():
    patches, _ = scene()
    assert torch.equal(first_component(patches, (6, 6)), first_component(-patches, (6, 6)))


def test_contrast_is_the_mean_over_pairs_of_patches():
    patches, masks = torch.randn(3, 16, 5), torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, 2:6, :4] = True  # whole patches
    masks[1, :2, :3] = True  # one patch, and exactly half of the next
    found = contrast(patches, (4, 4), masks)
    for image, ours in ((0, {4, 5, 8, 9}), (1, {0})):
        within, across = [], []
        for i in ours:
            for j in range(16):
                cosine = F.cosine_similarity(patches[image, i], patches[image, j], dim=0)
                (within if j in ours else across).append(float(cosine))
        assert found[image] == pytest.approx(sum(within) / len(within) - sum(across) / len(across), abs=1e-5)
    assert found[2].isnan()  # no object, no contrast


def test_the_best_centred_box_of_a_centred_square_is_that_square():
    masks = torch.zeros(3, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    assert centred_box(masks) == pytest.approx(1.0)


def test_labelled_images_are_square_fixed_and_keep_their_masks():
    source = open_source(Data(source="shapes", shapes=Shapes(images=30, size=48)), split="test")
    one, again = read_images(source, 10, 32), read_images(source, 10, 32)
    assert one.images.shape == (10, 3, 32, 32)
    assert one.labelled
    assert torch.equal(one.images, again.images)
    assert one.masks is not None
    assert one.masks.shape == (10, 32, 32)
    assert 0.02 < float(one.masks.float().mean()) < 0.6


def test_broken_images_are_left_out(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(9):
            pixels = np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"not a picture")
    source = open_source(Data(source=str(tmp_path)), split="train")
    images = read_images(source, 100, 16)
    assert 10 <= len(images.images) <= 18
    assert images.masks is None
