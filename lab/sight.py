"""What any network sees in any images.

A *source* is a network: `run:ID:STEP:teacher`, `run:ID:STEP:student`, or `model:NAME` of those the lab was given.  *Images* are
`probe:ID` (a run's), `data:ID` (some of the data it is trained on), `folder:K` (of those the lab was given) or `set:HASH` (handed
in).  What a run stored at its probes is read;
the rest is computed by the worker and kept: in the cache on disk, or, of images handed in, in memory alone.  No torch here."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import load as read_tensors

from dino_core.errors import DataError, DinoError, RunError
from lab import cache, crowd, pictures
from lab.analysis import similarity
from lab.answers import House, stamp
from lab.pictures import Pictures, Sets
from lab.run import Network, Probe, Run

FLOOR = "random:dino_vits16"
"""Offered where no model was given: what an untrained network of a usual size sees."""
OF_DATA = 24
"""Images of a data set that are looked at one by one."""
REMEMBERED = 96 * 2**20
"""Bytes of answers about images handed in."""
Answer = dict[str, np.ndarray]


@dataclass
class Given:
    """Models and folders that the lab was started with, and what was handed in since."""

    models: dict[str, str] = field(default_factory=lambda: {FLOOR: FLOOR})
    """Where each is, by its name here."""
    folders: list[Path] = field(default_factory=list)
    uploads: bool | None = None
    """Whether images may be handed in; None: unless the house is read-only."""
    sets: Sets = field(default_factory=Sets)
    memory: dict[str, tuple[Answer, dict[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def given(house: House) -> Given:
    """What this house was given; a house that was given nothing offers the untrained network."""
    return cast(Given, house.more.setdefault("sight", Given()))


WEIGHTS = (".pth", ".pt", ".safetensors")
TELLS_A_MODEL = ("config.json", "model.json", "run.json")
"""A folder that holds one of these is a model itself; any other may hold models."""


def within(model: str) -> list[str]:
    """A folder of models as the models in it, by name; anything else is one model."""
    folder = Path(model).expanduser()
    if not folder.is_dir() or any((folder / name).is_file() for name in TELLS_A_MODEL):
        return [model]
    found = [
        str(path)
        for path in sorted(folder.iterdir())
        if (path.is_file() and path.suffix in WEIGHTS)
        or (path.is_dir() and any((path / name).is_file() for name in TELLS_A_MODEL))
    ]
    if not found:
        raise DinoError(f"there is no model in the folder {model!r}; expected files ({', '.join(WEIGHTS)}) or folders.")
    return found


def named(models: Sequence[str]) -> dict[str, str]:
    """Models by short names, none twice; where some are given, an untrained one beside them as the honest floor."""
    found: dict[str, str] = {}
    for model in (one for given in models for one in within(given)):
        path = Path(model).expanduser()
        name = base = path.stem if path.exists() or path.suffix in WEIGHTS else model
        number = 2
        while name in found:
            name, number = f"{base} ({number})", number + 1
        found[name] = str(path.resolve()) if path.exists() else model
    if not any(model.startswith("random:") for model in found.values()):
        found[FLOOR] = FLOOR
    return found


# ---- networks


@dataclass(frozen=True)
class Source:
    """A network, before it is opened."""

    text: str
    where: str
    """What `load_backbone` opens; empty where nothing but the probe is there."""
    files: tuple[Path, ...]
    probe: Probe | None = None
    """What the run stored of it."""
    run: Run | None = None
    network: Network = "teacher"

    @property
    def stamp(self) -> str:
        return stamp(*self.files, *([self.probe.file] if self.probe else []))

    def identity(self) -> str:
        """A name for the weights, the same wherever they are copied."""
        if not self.files:
            return self.where
        return f"{_fingerprint(self.files, stamp(*self.files))} {self.network}"


@lru_cache(maxsize=256)
def _fingerprint(files: tuple[Path, ...], when: str) -> str:
    return cache.fingerprint(*files)


def source(house: House, text: str) -> Source:
    """The network a text names; a sentence where it names none."""
    kind, _, rest = text.partition(":")
    if kind == "model":
        models = given(house).models
        if rest not in models:
            raise RunError(f"this lab was not given a model {rest[:60]!r}. It has: {', '.join(models)}.")
        path = Path(models[rest])
        files = tuple(sorted(f for f in path.rglob("*") if f.is_file())[:64]) if path.is_dir() else (path,)
        return Source(text, models[rest], files if path.exists() else ())
    parts = rest.split(":")
    if kind != "run" or len(parts) != 3 or not parts[1].isdigit() or parts[2] not in ("teacher", "student"):
        raise RunError(f"{text[:60]!r} is no network; expected run:ID:STEP:teacher, run:ID:STEP:student or model:NAME.")
    run, step, network = house.shelf.run(parts[0]), int(parts[1]), cast(Network, parts[2])
    probe = run.probe(step) if step in run.probes else None
    if network == "teacher" and step in run.checkpoints:
        folder = run.checkpoint_folder(step)
        return Source(text, str(folder), (folder / "teacher.safetensors", folder / "model.json"), probe, run, network)
    if network == "student" and (files := _state(run, step)):
        return Source(text, str(run.checkpoint_folder(step)), files, probe, run, network)
    if probe is None:
        raise RunError(f"the run has neither a checkpoint nor a probe at step {step}.")
    if f"{network}.patches" not in probe:
        raise RunError(f"the probe of step {step} did not keep the {network}.")
    return Source(text, "", (), probe, run, network)


def _state(run: Run, step: int) -> tuple[Path, ...]:
    """The files that hold the student of a checkpoint; none where only the teacher was kept."""
    if step not in run.checkpoints:
        return ()
    state = run.checkpoint_folder(step) / "state"
    files = sorted(state.glob("*.distcp")) if (state / ".metadata").is_file() else []
    return (state / ".metadata", state.parent / "model.json", *files) if files else ()


# ---- images


@dataclass(frozen=True)
class Shown:
    """Images, before they are read."""

    text: str
    key: str
    read: Callable[[], Pictures]
    private: bool = False
    """Handed in: nothing that comes of them is written anywhere."""
    run: str | None = None
    """Whose probe images they are."""


def shown(house: House, text: str) -> Shown:
    """The images a text names; a sentence where it names none."""
    kind, _, rest = text.partition(":")
    if kind == "set":
        return Shown(text, rest, lambda: given(house).sets.get(rest), private=True)
    if kind == "folder":
        folders = given(house).folders
        if not rest.isdigit() or int(rest) >= len(folders):
            raise DataError(f"this lab was given {len(folders)} folders of images; there is no folder {rest[:20]!r}.")
        folder = folders[int(rest)]
        return Shown(text, f"{folder} {stamp(folder)}", lambda: _folder(folder, stamp(folder)))
    if kind == "probe":
        run = house.shelf.run(rest)
        file = run.path / "probes" / "images.safetensors"
        return Shown(text, f"{rest} {stamp(file)}", lambda: _probe_images(run, stamp(file)), run=rest)
    if kind == "data":
        run = house.shelf.run(rest)
        crowd.checked(house, run, crowd.COUNTS[1])
        file = run.path / "probes" / "images.safetensors"
        return Shown(text, f"data {rest} {stamp(file, run.path / 'config.json')}", lambda: _of_data(house, run))
    raise DataError(f"{text[:60]!r} are no images; expected probe:RUN, data:RUN, folder:NUMBER or set:HASH.")


def _of_data(house: House, run: Run) -> Pictures:
    """Some images of the data set that a run is trained on, at the size of its probes; read by the worker, and kept."""
    print_ = cache.fingerprint(run.path / "config.json", run.path / "probes" / "images.safetensors")
    entry = cache.entry("dataset", print_, OF_DATA)
    known = cache.load(entry)
    if known is None:
        house.worker.ask({"do": "dataset", "run": str(run.path), "count": OF_DATA, "entry": str(entry)})
        known = cache.load(entry)
    if known is None:
        raise RunError(f"images were read, but {entry.parent} could not keep them: is the disk full?")
    masks, images = known.get("masks"), known["images"]
    names = tuple(f"image {i} of the data" for i in range(1, len(images) + 1))
    return Pictures(images, names, None if masks is None else masks > 0, tuple(map(int, known["labels"])))


@lru_cache(maxsize=4)
def _folder(folder: Path, when: str) -> Pictures:
    return pictures.from_folder(folder)


def _probe_images(run: Run, when: str) -> Pictures:
    return _probed(str(run.path), when)


@lru_cache(maxsize=8)
def _probed(path: str, when: str) -> Pictures:
    found = Run(path).probe_images
    masks = None if found.masks is None else found.masks > 0
    names = tuple(f"image {i}" for i in range(1, len(found.images) + 1))
    images = np.ascontiguousarray(found.images.transpose(0, 2, 3, 1))
    return Pictures(images, names, masks, tuple(int(label) for label in found.labels))


def take(house: House, body: bytes, sizes: Sequence[int], video: bool) -> str:
    """Keep images that are handed in, for a while; the name of the set."""
    about = given(house)
    if about.uploads is False or (about.uploads is None and house.read_only):
        raise RunError("this lab is read-only: it shows its own runs and images, and takes none.")
    return about.sets.put(pictures.handed_in(body, sizes, video=video))


# ---- answers


def features(
    house: House, network: Source, images: Shown, size: int, image: int | None = None
) -> tuple[Answer, dict[str, Any]]:
    """`patches` (I N D) int8 with `scale` and `length` (I N), `cls` (I D) int8 with `cls_scale` (I), and what is said of them.

    With `image` of that one alone: of many images through a large network only what is looked at has to be waited for."""
    if image is not None:
        _there(images, image)
    if _stored(network, images, size):
        assert network.probe is not None
        which = slice(None) if image is None else slice(image, image + 1)
        patches, cls = (
            network.probe.read(f"{network.network}.{name}")[which].astype(np.float32) for name in ("patches", "cls")
        )
        return similarity.sent(patches, cls), {**_of_probe(network), "stored": True}
    one = {} if image is None else {"image": image}
    return _computed(house, network, images, "features", size=size, **one)


def _there(images: Shown, image: int) -> None:
    count = len(images.read().images)
    if not 0 <= image < count:
        raise DataError(f"there is no image {image}; there are {count}, 0 to {count - 1}.")


def layers(house: House, network: Source, images: Shown, size: int) -> np.ndarray:
    """Patches after every layer, pooled to a common grid (M R D) (`lab.eyes.layers`).

    Image by image, so that what somebody waits for comes in between."""
    count = len(images.read().images)
    parts = [_computed(house, network, images, "layers", image=image, size=size)[0]["layers"] for image in range(count)]
    return np.concatenate(parts, axis=1)


def stages(house: House, network: Source, images: Shown, image: int, seed: int) -> tuple[Answer, dict[str, Any]]:
    """One step of a published network with its head on one image, taken apart (`lab.stages.published`)."""
    _there(images, image)
    if network.run is not None:
        raise RunError("a run's own steps are asked for by their run; this is for published networks.")
    return _computed(house, network, images, "stages", image=image, seed=seed)


def heads(
    house: House, network: Source, images: Shown, image: int, size: int, layer: int | None
) -> tuple[Answer, dict[str, Any]]:
    """All heads of all layers for one image (`lab.eyes.heads`); of a network that is only stored, the last layer's maps."""
    if not network.where:
        return _stored_heads(network, images, image, size)
    _there(images, image)
    return _computed(house, network, images, "heads", image=image, size=size, layer=layer)


def _stored(network: Source, images: Shown, size: int) -> bool:
    """Whether the run kept the answer: its own probe images, at their own size."""
    if network.probe is None or network.run is None or images.run is None:
        return False
    own = images.run == network.text.split(":")[1] and f"{network.network}.patches" in network.probe
    return own and size in (0, images.read().images.shape[1])


def _of_probe(network: Source) -> dict[str, Any]:
    assert network.probe is not None
    assert network.run is not None
    rows, columns = network.probe.grid
    config = network.run.config.backbone
    return {
        "rows": rows,
        "columns": columns,
        "registers": config.registers,
        "depth": config.depth,
        "heads": config.heads,
    }


def _stored_heads(network: Source, images: Shown, image: int, size: int) -> tuple[Answer, dict[str, Any]]:
    assert network.probe is not None
    if not _stored(network, images, size):
        raise RunError(_not_kept(network, images, size))
    name = f"{network.network}.attention"
    maps = network.probe.read(name)  # RunError where the network has none
    if not 0 <= image < len(maps):
        raise DataError(f"there is no image {image}; there are {len(maps)}.")
    about = _of_probe(network)
    return {"maps": maps[image].astype(np.float32)}, {**about, "stored": True}


def _not_kept(network: Source, images: Shown, size: int) -> str:
    """Why a network of which a step kept nothing but answers can't be looked through, and what can."""
    assert network.run is not None
    assert network.probe is not None
    which, step = network.network, network.probe.step
    whole = [at for at in network.run.checkpoints if which == "teacher" or _state(network.run, at)]
    kept = f" The {which} was kept at {_few(whole)}." if whole else ""
    if _stored(network, images, size):
        return f"step {step} kept answers to its probe images alone, and this needs the network itself.{kept}"
    return (
        f"the run keeps its {which} of step {step} only at its probes: choose the probe images at their own size.{kept}"
    )


def _few(steps: Sequence[int]) -> str:
    """Some of many steps in words, first and last among them."""
    if len(steps) < 8:
        return f"step{'s' * (len(steps) > 1)} {', '.join(map(str, steps))}"
    return f"steps {', '.join(map(str, steps[:3]))} … {', '.join(map(str, steps[-2:]))}"


def _computed(house: House, network: Source, images: Shown, want: str, **asked: Any) -> tuple[Answer, dict[str, Any]]:
    """From what is kept, or from the worker; answers to the same question at the same time are computed once."""
    if not network.where:
        raise RunError(_not_kept(network, images, asked.get("size", 0)))
    seen = images.read()
    pixels = seen.images[[asked["image"]]] if "image" in asked else seen.images
    name = ("sight-2", want, network.identity(), _digest(pixels), *sorted(asked.items()))
    if (known := _kept(house, images, name)) is not None:
        return known
    with house.worker.once(name):
        if (known := _kept(house, images, name)) is not None:
            return known
        answer = house.worker.ask({
            "do": "look", "want": want, "source": network.where, "stamp": network.stamp, "network": network.network, **asked,
            "shape": list(pixels.shape), "pixels": base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode("ascii"),
        })  # fmt: skip
        known = _parsed(base64.b64decode(answer["tensors"]))
        _keep(house, images, name, known)
    return known


def _digest(pixels: np.ndarray) -> str:
    return Pictures(pixels, ()).digest


def _parsed(content: bytes) -> tuple[Answer, dict[str, Any]]:
    length = int.from_bytes(content[:8], "little")
    said = json.loads(content[8 : 8 + length])["__metadata__"]["said"]
    return read_tensors(content), json.loads(said)


def _kept(house: House, images: Shown, name: tuple[Any, ...]) -> tuple[Answer, dict[str, Any]] | None:
    if images.private:
        about = given(house)
        with about.lock:
            found = about.memory.pop(str(name), None)
            if found is not None:
                about.memory[str(name)] = found
        return found
    arrays = cache.load(cache.entry("sight", *name))
    if arrays is None:
        return None
    said = json.loads(arrays.pop("said").tobytes())
    return arrays, said


def _keep(house: House, images: Shown, name: tuple[Any, ...], answer: tuple[Answer, dict[str, Any]]) -> None:
    """On disk, or in memory where the images were handed in."""
    arrays, said = answer
    if not images.private:
        cache.store(cache.entry("sight", *name), {**arrays, "said": np.frombuffer(json.dumps(said).encode(), np.uint8)})
        return
    about = given(house)
    with about.lock:
        about.memory[str(name)] = answer
        while len(about.memory) > 1 and sum(_bytes(kept) for kept, _ in about.memory.values()) > REMEMBERED:
            del about.memory[next(iter(about.memory))]


def _bytes(arrays: Answer) -> int:
    return sum(array.nbytes for array in arrays.values())


def offered(house: House) -> dict[str, Any]:
    """What may be chosen: models and folders by name, and whether images may be handed in."""
    about = given(house)
    folders = []
    for folder in about.folders:
        try:
            every = len(pictures.files_of(folder))
        except (DinoError, OSError):
            every = 0
        folders.append({"name": folder.name, "count": min(every, pictures.MOST_OF_A_FOLDER), "all": every})
    takes = about.uploads is not False and not (about.uploads is None and house.read_only)
    return {"models": list(about.models), "folders": folders, "takes": takes}
