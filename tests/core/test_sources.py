"""Sources: whatever lies in a folder or a data set becomes RGB bytes, or an error that names it."""

from __future__ import annotations

import importlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_core.config import Data, Shapes
from dino_core.data import decoding, sources
from dino_core.data.decoding import ImageError, decode, to_rgb
from dino_core.data.sources import FolderSource, open_source
from dino_core.errors import DataError


def picture(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    """A smooth colour picture (height width 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, image: np.ndarray | Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def declare(path: Path, width: int, height: int) -> Path:
    """A PNG that says it is this large and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


# ------------------------------------------------------------------------------------------------- decoding


def test_grey_becomes_three_equal_colours(tmp_path):
    grey = picture()[..., 0]
    assert np.array_equal(decode(save(tmp_path / "a.png", grey), "a"), np.repeat(grey[..., None], 3, 2))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 600, dtype=np.uint16).reshape(20, 30)
    for name in ("a.png", "a.tif"):
        image = decode(save(tmp_path / name, deep), name)
        assert np.array_equal(image[..., 0], (deep / 65535 * 255 + 0.5).astype(np.uint8))
        assert np.array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize(("top", "bottom"), [(1.0, 255), (255.0, 255), (2.0**20, 255)])
def test_floating_point_greys_are_scaled_by_the_range_they_are_in(tmp_path, top, bottom):
    grey = np.linspace(0, top, 600, dtype=np.float32).reshape(20, 30)
    grey[3, 3] = np.nan
    image = decode(save(tmp_path / "a.tif", grey), "a")
    assert image[-1, -1, 0] == bottom
    assert image[0, 0, 0] == image[3, 3, 0] == 0


def test_transparent_pixels_show_mid_grey_and_half_transparent_ones_half_of_it(tmp_path):
    colours = np.zeros((3, 4, 4), np.uint8)
    colours[..., 0] = 255
    colours[..., 3] = np.array([0, 128, 255])[:, None]
    image = decode(save(tmp_path / "a.png", colours), "a")
    assert image[:, 0].tolist() == [[128, 128, 128], pytest.approx([192, 64, 64], abs=1), [255, 0, 0]]


def test_a_palette_with_a_transparent_colour_is_converted(tmp_path):
    image = Image.fromarray(picture()).quantize(8)
    found = decode(save(tmp_path / "a.gif", image, transparency=0), "a")
    assert (found[np.asarray(image) == 0] == 128).all()
    assert found.shape == (20, 30, 3)


def test_cmyk_keeps_its_colours(tmp_path):
    found = decode(
        save(tmp_path / "a.jpg", Image.new("RGB", (20, 30), (250, 120, 10)).convert("CMYK"), quality=95), "a"
    )
    assert found.mean((0, 1)) == pytest.approx([250, 120, 10], abs=4)


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right
    found = decode(save(tmp_path / "a.png", picture(), exif=exif), "a")
    assert np.array_equal(found, np.rot90(picture(), -1))


def test_one_pixel_is_an_image(tmp_path):
    assert decode(save(tmp_path / "a.png", picture()[:1, :1]), "a").shape == (1, 1, 3)


def test_a_large_jpeg_is_decoded_smaller_but_not_below_what_is_asked(tmp_path):
    file = save(tmp_path / "a.jpg", picture(400, 600))
    assert decode(file, "a", 96).shape == (100, 150, 3)
    assert decode(file, "a", 300).shape == (400, 600, 3)
    assert decode(file, "a").shape == (400, 600, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_of_pillow_becomes_rgb(mode):
    if mode == "I;16":
        image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    elif mode == "PA":
        image = Image.fromarray(picture()).convert("P").convert("PA")
    else:
        image = Image.fromarray(picture()).convert(mode)
    found = to_rgb(image)
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.uint8


def broken(folder: Path) -> dict[str, Path]:
    """A file of each kind that can't be read."""
    whole = save(folder / "whole.jpg", picture(200, 200)).read_bytes()
    names = ("truncated.jpg", "text.jpg", "empty.png", "huge.png", "torn.png")
    files = {name: folder / name for name in names}
    files["truncated.jpg"].write_bytes(whole[: len(whole) // 2])
    files["text.jpg"].write_text("this is not an image")
    files["empty.png"].write_bytes(b"")
    declare(files["huge.png"], 60_000, 60_000)
    declare(files["torn.png"], 40, 40)
    return files


def test_a_broken_image_is_named_with_its_reason(tmp_path):
    reasons = {}
    for name, file in broken(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            decode(file, name)
        assert caught.value.name == name
        reasons[name] = caught.value.reason
    assert "truncated" in reasons["truncated.jpg"]
    assert reasons["text.jpg"] == reasons["empty.png"] == "not an image"
    assert reasons["huge.png"] == "declares more than 1,000,000,000 pixels"


def test_an_image_too_large_to_decode_is_refused_unless_it_is_a_jpeg_read_small(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_DECODED", 50_000)
    with pytest.raises(ImageError, match="400 x 600 pixels"):
        decode(save(tmp_path / "a.png", picture(600, 400)), "a.png")
    file = save(tmp_path / "a.jpg", picture(600, 400))
    assert decode(file, "a.jpg", 100).shape == (150, 100, 3)


# --------------------------------------------------------------------------------------------------- folder


def labelled(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), images: int = 20) -> Path:
    for number, name in enumerate(classes):
        for image in range(images):
            save(folder / name / f"{image}.png", picture(8, 8, seed=100 * number + image))
    return folder


def everything(source: sources.Source) -> set[str]:
    return {source.read(index).name for index in range(len(source))}


def test_folders_of_images_are_classes_and_one_image_in_about_eight_is_held_out(tmp_path):
    labelled(tmp_path / "pets", images=100)
    train, test = (open_source(Data(source=str(tmp_path / "pets")), split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert not everything(train) & everything(test)
    assert len(train) + len(test) == 200
    assert 10 < len(test) < 45
    assert all(train.classes[s.label] == s.name.split("/")[0] for s in map(train.read, range(0, len(train), 9)))


def test_adding_images_moves_no_other_between_the_halves(tmp_path):
    before = everything(FolderSource(labelled(tmp_path / "pets", images=40), "test"))
    labelled(tmp_path / "pets", classes=("cow",), images=40)
    after = everything(FolderSource(tmp_path / "pets", "test"))
    assert {name for name in after if not name.startswith("cow")} == before


def test_loose_images_have_no_labels(tmp_path):
    for image in range(30):
        save(tmp_path / f"{image}.jpg")
    save(tmp_path / "more" / "deep" / "0.WEBP")
    source = FolderSource(tmp_path, whole=True)
    assert source.classes == ()
    assert len(source) == 31
    assert source.read(0).label == -1
    assert source.read(0).mask is None


@pytest.mark.parametrize("test", ["test", "val", "validation"])
@pytest.mark.parametrize("pointed_at", ["", "train", "test half"])
def test_halves_with_folders_of_their_own_are_found_from_anywhere(tmp_path, test, pointed_at):
    labelled(tmp_path / "train", images=3)
    labelled(tmp_path / test, classes=("dog",), images=2)
    folder = tmp_path / {"": "", "train": "train", "test half": test}[pointed_at]
    train, held_out = (open_source(Data(source=str(folder)), split=split) for split in ("train", "test"))
    assert (train.name, len(train)) == (tmp_path.name, 6)
    assert (held_out.name, len(held_out)) == (tmp_path.name, 2)
    assert held_out.classes == train.classes == ("cat", "dog")
    assert held_out.read(0).label == 1


def test_a_folder_with_nothing_but_train_is_that_folder(tmp_path):
    labelled(tmp_path / "train", images=30)
    save(tmp_path / "train_mask" / "cat" / "0.png", np.full((8, 8), 255, np.uint8))
    train, test = (FolderSource(tmp_path, split) for split in ("train", "test"))
    assert train.classes == ("cat", "dog")
    assert len(train) + len(test) == 60
    assert train.masks == tmp_path.resolve() / "train_mask"


def test_trains_are_a_class_like_others(tmp_path):
    source = FolderSource(labelled(tmp_path / "vehicles", classes=("car", "train"), images=3), whole=True)
    assert source.classes == ("car", "train")


@pytest.mark.parametrize("pointed_at", ["", "train"])
def test_masks_lie_beside_the_images_and_take_their_size(tmp_path, pointed_at):
    mask = np.zeros((8, 12), np.uint8)
    mask[:, :6] = 255
    for half in ("train", "test"):
        save(tmp_path / half / "cat" / "1.jpg", picture(16, 24))
        save(tmp_path / half / "dog" / "2.jpg", picture(16, 24))
        save(tmp_path / f"{half}_mask" / "cat" / "1.png", mask)
    for split in ("train", "test"):
        source = open_source(Data(source=str(tmp_path / pointed_at)), split=split)
        cat, dog = source.read(0), source.read(1)
        assert cat.mask.shape == (16, 24)
        assert cat.mask[:, :12].all()
        assert not cat.mask[:, 12:].any()
        assert dog.mask is None


def test_hidden_files_other_files_and_circles_of_links_are_left_alone(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / ".hidden.png")
    save(tmp_path / ".cache" / "b.png")
    (tmp_path / "notes.txt").write_text("png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert FolderSource(tmp_path, whole=True).paths == ["a.png"]


def test_a_broken_mask_is_named(tmp_path):
    save(tmp_path / "pets" / "a.png")
    (tmp_path / "pets_mask").mkdir()
    (tmp_path / "pets_mask" / "a.png").write_text("no mask")
    with pytest.raises(ImageError, match=r"a\.png: its mask can't be read"):
        FolderSource(tmp_path / "pets", whole=True).read(0)
    assert FolderSource(tmp_path / "pets", whole=True, masks=False).read(0).mask is None, "training reads no mask"


def test_names_in_no_encoding_are_held_out_like_others(tmp_path):
    for number in range(16):
        save(tmp_path / "a.png")
        os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9 %d.png" % number)
    halves = [FolderSource(tmp_path, split) for split in ("train", "test")]
    assert len(halves[0]) + len(halves[1]) == 16
    assert halves[0].read(0).name.startswith("caf")


def test_another_folder_may_hold_the_images_of_the_evaluations(tmp_path):
    labelled(tmp_path / "pets", images=9)
    labelled(tmp_path / "others", classes=("ant", "dog"), images=2)
    data = Data(source=str(tmp_path / "pets"), validation=str(tmp_path / "others"))
    train, test = (open_source(data, split=split) for split in ("train", "test"))
    assert len(train) == 18
    assert test.classes == ("cat", "dog")
    assert sorted(test.read(index).label for index in range(len(test))) == [-1, -1, 1, 1]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "there is no folder 'nowhere', and no other source of that name. Sources: shapes, a folder"),
        ("TMP/file.txt", "TMP/file.txt is a file; expected a folder of images"),
        ("TMP/empty", "'TMP/empty' holds no images (files ending in .png, .jpg"),
        ("TMP/one", "half of 'TMP/one' is empty: one image in 8 is held out by its name, and there are 1. Add images"),
        ("torchvision:Nothing", "torchvision has no data set 'Nothing'. It has: "),
        ("torchvision:", "there is no folder 'torchvision:'"),
        ("hf:TMP/empty", "the Hugging Face data set 'TMP/empty' could not be loaded ("),
    ],
)
def test_what_is_not_a_source_gets_one_sentence(tmp_path, source, sentence):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    save(tmp_path / "one" / "1.png")
    data = Data(source=source.replace("TMP", str(tmp_path)))
    with pytest.raises(DataError) as caught:
        [open_source(data, split=split) for split in ("train", "test")]
    assert sentence.replace("TMP", str(tmp_path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shapes_is_a_source_with_masks_parts_and_other_images_to_test_on():
    data = Data(shapes=Shapes(images=5, size=16))
    train, test = (open_source(data, split=split) for split in ("train", "test"))
    assert len(train) == 5
    assert len(test) == sources.SHAPES_TEST_IMAGES
    assert train.read(0).mask.any()
    assert train.read(0).parts.max() > 0
    assert not np.array_equal(train.read(0).image, test.read(0).image)
    with pytest.raises(DataError, match="shapes of 0 images"):
        open_source(Data(shapes=Shapes(images=0)))


# ---------------------------------------------------------------------------------- torchvision, Hugging Face


def test_a_torchvision_set_is_read_from_the_folder_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_LAB_DATA", str(tmp_path))
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for half, images in (("train", 12), ("t10k", 5)):
        pixels = np.full((images, 28, 28), 7, np.uint8)
        labels = (np.arange(images) % 10).astype(np.uint8)
        (raw / f"{half}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, images, 28, 28) + pixels.tobytes())
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, images) + labels.tobytes())
    train, test = (open_source(Data(source="torchvision:FashionMNIST"), split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 5)
    assert len(train.classes) == 10
    sample = train.read(3)
    assert (sample.label, sample.name) == (3, "torchvision:FashionMNIST/3")
    assert (sample.image == 7).all()


def test_a_torchvision_set_that_is_not_there_says_where_to_put_it(tmp_path, monkeypatch):
    datasets = importlib.import_module("torchvision.datasets")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("DINO_LAB_DATA", str(tmp_path))
    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", unreachable)
    with pytest.raises(DataError) as caught:
        open_source(Data(source="torchvision:CIFAR10"))
    said = str(caught.value)
    assert f"CIFAR10 is not in {str(tmp_path)!r} and could not be downloaded (no route to host)" in said
    assert "DINO_LAB_DATA" in said


def hugging_face(images: int = 24) -> object:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee"])})
    rows = {"img": [Image.fromarray(picture(seed=i)) for i in range(images)], "kind": [i % 2 for i in range(images)]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_hugging_face_set_on_disk_is_read_by_the_types_of_its_columns(tmp_path):
    hugging_face().save_to_disk(str(tmp_path / "bees"))
    train, test = (open_source(Data(source=f"hf:{tmp_path}/bees"), split=split) for split in ("train", "test"))
    assert train.classes == ("ant", "bee")
    assert (len(train), len(test)) == (21, 3)
    assert not everything(train) & everything(test)
    assert np.array_equal(train.read(1).image, picture(seed=1))
    assert [train.read(i).label for i in range(4)] == [0, 1, 0, 1]


def test_splits_of_a_hugging_face_set_are_its_halves_and_plain_columns_may_be_labels(tmp_path):
    datasets = pytest.importorskip("datasets")
    words = hugging_face().remove_columns("kind").add_column("label", ["x", "y", "z"] * 8)
    datasets.DatasetDict({"train": words, "validation": words.select(range(6))}).save_to_disk(str(tmp_path / "words"))
    train, test = (open_source(Data(source=f"hf:{tmp_path}/words"), split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (24, 6)
    assert train.classes == test.classes == ("x", "y", "z")
    assert [test.read(i).label for i in range(4)] == [0, 1, 2, 0]


def test_a_hugging_face_set_without_images_lists_its_columns(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a"], "size": [1]}).save_to_disk(str(tmp_path / "texts"))
    with pytest.raises(DataError, match=r"has no column of images\. Columns: text, size\."):
        open_source(Data(source=f"hf:{tmp_path}/texts"))


def test_without_the_package_datasets_one_sentence_says_so(monkeypatch):
    original = importlib.import_module

    def missing(name: str, package: str | None = None) -> object:
        if name == "datasets":
            raise ImportError("No module named 'datasets'")
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match="hf:cifar10 needs the package `datasets`"):
        open_source(Data(source="hf:cifar10"))
