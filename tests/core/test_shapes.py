"""The built-in scenes: pure functions of (seed, split, index), with masks that tell the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_core.config import Shapes
from dino_core.data import shapes
from dino_core.data.shapes import BACKGROUNDS, CLASSES, OBJECTS, PART_NAMES, PARTS, draw_scene


def scenes(count: int, **options: object) -> list[shapes.Scene]:
    return [draw_scene(Shapes(**options), "train", index) for index in range(count)]


def centred_box_iou(masks: np.ndarray) -> float:
    """Mean IoU of the best box in the middle of the image."""
    side = masks.shape[1]
    best = 0.0
    for half in range(side // 8, side // 2):
        box = np.zeros((side, side), bool)
        box[side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half] = True
        best = max(best, ((masks & box).sum((1, 2)) / (masks | box).sum((1, 2))).mean())
    return float(best)


def neighbours_accuracy(images: np.ndarray, labels: np.ndarray, train: int) -> float:
    """Share of the images after the first `train` whose nearest 20 raw images vote for their class."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    similarity = pixels[train:] @ pixels[:train].T
    nearest = np.argsort(-similarity, 1)[:, :20]
    weights = np.exp(np.take_along_axis(similarity, nearest, 1) / 0.07)
    votes = np.stack([(weights * (labels[nearest] == label)).sum(1) for label in range(len(CLASSES))], 1)
    return float((votes.argmax(1) == labels[train:]).mean())


@settings(max_examples=25, deadline=None)
@given(
    background=st.sampled_from(sorted(BACKGROUNDS)),
    palette=st.sampled_from(["class", "free"]),
    pose=st.floats(0, 1.5),
    distractors=st.integers(0, 4),
    size=st.sampled_from([16, 33, 64]),
    seed=st.integers(0, 2**31),
    index=st.integers(0, 2**40),
)
def test_a_scene_is_a_pure_function_of_its_numbers(background, palette, pose, distractors, size, seed, index):
    config = Shapes(background=background, palette=palette, pose=pose, distractors=distractors, size=size, seed=seed)
    one, again = draw_scene(config, "train", index), draw_scene(config, "train", index)
    assert one.image.shape == (size, size, 3)
    assert one.image.dtype == np.uint8
    assert one.label == again.label
    assert 0 <= one.label < len(CLASSES)
    for name in ("image", "mask", "parts"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert np.array_equal(one.mask, one.parts > 0)
    assert 0 < one.mask.mean() < 0.6


def test_another_seed_split_or_index_draws_another_scene():
    first = draw_scene(Shapes(), "train", 0).image
    for config, split, index in ((Shapes(seed=1), "train", 0), (Shapes(), "test", 0), (Shapes(), "train", 1)):
        assert not np.array_equal(first, draw_scene(config, split, index).image)


def test_parts_are_those_of_the_class_and_every_part_is_seen():
    seen: set[int] = set()
    for scene in scenes(400):
        names = {PART_NAMES[number] for number in np.unique(scene.parts)} - {"background"}
        assert names <= {f"{CLASSES[scene.label]}/{part}" for part in PARTS[CLASSES[scene.label]]}
        seen |= set(np.unique(scene.parts).tolist())
    assert seen == set(range(len(PART_NAMES)))


def test_ten_classes_of_three_to_five_parts_come_equally_often():
    assert len(CLASSES) == 10
    assert all(3 <= len(parts) <= 5 for parts in PARTS.values())
    counts = np.bincount([scene.label for scene in scenes(1000, size=16)], minlength=10)
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.mark.parametrize("name", CLASSES)
def test_every_object_fills_its_own_square(name):
    outline, area = shapes._outline(name)
    assert np.abs(outline).max() < 1.25
    assert 0.5 < area < 3


def test_the_object_covers_about_a_fifth_of_the_image_and_no_box_finds_it():
    masks = np.stack([scene.mask for scene in scenes(600)])
    assert masks.mean() == pytest.approx(0.19, abs=0.015)
    assert 0.25 < centred_box_iou(masks) < 0.35


def test_without_pose_objects_stand_upright_in_the_middle_at_one_size():
    by_class: dict[int, list[np.ndarray]] = {}
    for scene in scenes(60, pose=0.0):
        by_class.setdefault(scene.label, []).append(scene.mask)
    for masks in by_class.values():
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
        rows, columns = np.nonzero(masks[0])
        assert (rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=1)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(31.5, abs=1)


def test_plain_backgrounds_are_one_family_of_grey_noise():
    means, spreads = [], []
    for scene in scenes(40, pose=0.0):
        ground = scene.image[:6].astype(float)  # above every object
        assert np.ptp(ground, axis=-1).max() == 0
        means.append(ground.mean())
        spreads.append(ground.std())
    assert np.mean(means) == pytest.approx(127.5, abs=3)
    assert np.std(means) < 10
    assert np.std(spreads) < 6


def test_identifying_backgrounds_tell_images_apart_by_colour_and_plain_ones_do_not():
    def between_over_within(background: str) -> float:
        drawn = scenes(80, background=background, pose=0.0)
        corners = np.stack([[s.image[:12, :12].mean((0, 1)), s.image[-12:, -12:].mean((0, 1))] for s in drawn])
        return float(corners.mean(1).var(0).mean() / (corners - corners.mean(1, keepdims=True)).var(1).mean())

    assert between_over_within("identifying") > 10 * between_over_within("plain")


def test_colours_of_a_part_gather_around_those_of_its_class_unless_the_palette_is_free():
    def spread(palette: str) -> float:
        bodies = [scene for scene in scenes(300, palette=palette, size=32) if CLASSES[scene.label] == "fish"]
        number = PART_NAMES.index("fish/body")
        return float(np.stack([s.image[s.parts == number].mean(0) for s in bodies]).std(0).mean())

    assert spread("class") < 0.75 * spread("free")


def test_distractors_lie_on_the_background_and_are_not_in_the_mask():
    for index in range(20):
        without, strewn = (draw_scene(Shapes(distractors=n, pose=0.0), "train", index) for n in (0, 6))
        assert np.array_equal(without.mask, draw_scene(Shapes(pose=0.0), "train", index).mask)
        coloured = np.ptp(strewn.image.astype(int), axis=-1) > 8
        assert (coloured & ~strewn.mask).any()


def test_edges_are_smooth_and_as_long_as_they_should_be():
    axis = np.arange(200, dtype=np.float32) / 100 - 1 + 0.005
    u, v = np.meshgrid(axis, axis)
    for distance, area in (
        (shapes.ellipse(0.1, 0.0, 0.5, 0.3, turn=30.0), np.pi * 0.15),
        (shapes.box(0.0, 0.1, 0.4, 0.2), 0.32),
        (shapes.polygon((-0.5, 0.4), (0.0, -0.5), (0.5, 0.4)), 0.45),
        (shapes.ring(0.0, 0.0, 0.5, 0.1), 4 * np.pi * 0.05),
        (shapes.discs(0.2, (-0.5, 0.0), (0.5, 0.0)), 2 * np.pi * 0.04),
        (shapes.union(shapes.box(-0.5, 0.0, 0.2, 0.2), shapes.box(0.5, 0.0, 0.2, 0.2)), 0.32),
        (shapes.intersection(shapes.box(0.0, 0.0, 0.4, 0.4), shapes.box(0.4, 0.0, 0.4, 0.4)), 0.32),
    ):
        coverage = shapes._coverage(distance(u, v), 100.0)
        assert coverage.sum() / 1e4 == pytest.approx(area, rel=0.02)
        assert ((coverage > 0) & (coverage < 1)).any()


def test_colours_are_those_of_the_colour_circle():
    hue = np.array([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0])
    red_to_red = shapes.rgb(hue, np.ones(7), np.ones(7))[..., 0, 0]
    assert np.allclose(red_to_red, [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)])


@pytest.mark.slow
def test_raw_pixels_tell_classes_apart_better_than_chance_but_far_from_well():
    drawn = scenes(2000)
    images, labels = np.stack([s.image for s in drawn]), np.array([s.label for s in drawn])
    assert 0.3 < neighbours_accuracy(images, labels, 1500) < 0.75


def test_every_object_is_made_of_parts_with_possible_colours():
    for parts in OBJECTS.values():
        assert all(0 <= channel <= 1 for part in parts for channel in part.colour)
