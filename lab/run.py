"""One run, as notebooks and the page read it.  Reading never writes into a run, and needs no torch but for `teacher`.

Axes: I probe images, N patches, D features, H heads, K prototypes, Y rows and X columns of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open

from dino_core.config import TrainConfig
from dino_core.errors import RunError
from dino_core.rundir import read
from dino_core.rundir.schema import CHECKPOINTS, METRICS, PROBE_IMAGES, PROBES, step_name

if TYPE_CHECKING:
    import pandas
    import torch.nn

    from lab.follow import Follower

Network = Literal["teacher", "student"]


@dataclass(frozen=True)
class ProbeImages:
    """The fixed images that every checkpoint is shown."""

    images: Shaped[np.ndarray, "I 3 Y X"]
    """Eight bits a channel."""
    labels: Shaped[np.ndarray, " I"]
    """Class of each image; -1 where unknown."""
    masks: Shaped[np.ndarray, "I Y X"] | None
    """Where the object is; None where the data has no masks."""


class Probe:
    """What the networks said about the probe images at one step.  Tensors are read from the file when asked for.

    `probe.patches` (I N D), `probe.cls` (I D), `probe.attention` (I H N), `probe.logits` (I K) are the teacher's;
    `probe.read("student.patches")` gives any by its name, `probe.names` says which there are."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with _opened(file) as tensors:
            self.names: tuple[str, ...] = tuple(sorted(tensors.keys()))
            said = tensors.metadata() or {}
        self.step = int(said.get("step", file.parent.name.removeprefix("step_")))
        self.grid = self._grid(said.get("grid"))
        """Rows and columns of patches."""

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """A tensor by its name, in the precision in which it was stored (float16)."""
        if name not in self.names:
            raise RunError(f"the probe of step {self.step} has no {name!r}. It has: {', '.join(self.names)}.")
        with _opened(self.file) as tensors:
            return np.asarray(tensors.get_tensor(name))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def cls(self) -> Shaped[np.ndarray, "I D"]:
        return self.read("teacher.cls")

    @property
    def patches(self) -> Shaped[np.ndarray, "I N D"]:
        return self.read("teacher.patches")

    @property
    def attention(self) -> Shaped[np.ndarray, "I H N"]:
        """Last layer, class token over patches: rows of the softmax, not renormalised."""
        return self.read("teacher.attention")

    @property
    def logits(self) -> Shaped[np.ndarray, "I K"]:
        return self.read("teacher.logits")

    def _grid(self, said: str | None) -> tuple[int, int]:
        if said is not None:
            rows, columns = (int(word) for word in said.replace("x", " ").split())
            return rows, columns
        with _opened(self.file) as tensors:
            patches = tensors.get_slice("teacher.patches").get_shape()[1]
        side = round(patches**0.5)
        return side, side


class Run:
    """One run directory: live or finished, of this machine or copied from another."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        read.read_run(self.path)  # says in a sentence what is wrong with the folder

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def about(self) -> dict[str, Any]:
        """run.json as it is now: recipe, device, versions, baselines, the metric catalogue."""
        return read.read_run(self.path)

    @property
    def name(self) -> str:
        return str(self.about.get("name") or self.path.name)

    @cached_property
    def config(self) -> TrainConfig:
        """Exactly what ran."""
        return read.read_config(self.path)

    @property
    def status(self) -> str:
        """`running`, `finished`, `stopped`, `failed` or `died`."""
        return read.status(self.path)

    def metrics(self) -> pandas.DataFrame:
        """One row a logged step, in order; of a resumed run the last segment's.  Values that were not finite are NaN or inf."""
        import pandas

        rows = read.merge_segments(map(read.restore_nonfinite, read.read_table(self.path / METRICS)[0]))
        table = pandas.DataFrame(rows)
        if table.empty:
            return pandas.DataFrame({"step": pandas.Series(dtype=int)})
        numbers = [column for column in table.columns if column not in ("step", "segment")]
        return table.assign(**{name: pandas.to_numeric(table[name], errors="coerce") for name in numbers})

    def events(self) -> list[dict[str, Any]]:
        """What happened, in order (the kinds are in rundir/FORMAT.md)."""
        return read.read_events(self.path)

    @property
    def checkpoints(self) -> list[int]:
        """Steps with a whole checkpoint, lowest first."""
        return read.checkpoints(self.path)

    @property
    def probes(self) -> list[int]:
        """Steps at which the probe images were shown to the networks, lowest first."""
        return read.probes(self.path)

    def probe(self, step: int | None = None) -> Probe:
        """What the networks said at a step; by default the last one that was probed."""
        if step is None or not self._probed(step):
            step = self._choose(step, self.probes, "probe")
        return Probe(self._probe_file(step))

    def _probe_file(self, step: int) -> Path:
        return self.path / PROBES / step_name(step) / "tensors.safetensors"

    def _probed(self, step: int) -> bool:
        """Whether one probe is there.  Who asks for each of n would otherwise look at n² files."""
        file = self._probe_file(step).resolve()
        return step >= 0 and file.is_relative_to(self.path.resolve()) and file.is_file()

    @property
    def probe_images(self) -> ProbeImages:
        """The images of the probes; RunError while the run has none yet."""
        file = read.inside(self.path, PROBE_IMAGES)
        if not file.is_file():
            raise RunError(f"{self.path} has no probe images yet; they are written when training starts.")
        with _opened(file) as tensors:
            names = set(tensors.keys())
            images = tensors.get_tensor("images")
            labels = tensors.get_tensor("labels") if "labels" in names else np.full(len(images), -1)
            masks = tensors.get_tensor("masks") if "masks" in names else None
        return ProbeImages(images=images, labels=labels, masks=masks)

    def checkpoint_folder(self, step: int | None = None) -> Path:
        """Where the checkpoint of a step is; by default the last one."""
        return self.path / CHECKPOINTS / step_name(self._choose(step, self.checkpoints, "checkpoint"))

    def teacher(self, step: int | None = None) -> torch.nn.Module:
        """The teacher's backbone at a checkpoint, the last by default: frozen, in eval mode.  Imports torch."""
        from dino_core.model import load_teacher

        return load_teacher(self.checkpoint_folder(step)).backbone

    @property
    def diagnosis(self) -> dict[str, Any] | None:
        """What is happening, as the run last named it: name, level, sentence, evidence, advice, step.

        A run without such events (an interrupted copy, another trainer) is diagnosed from its metrics; None before the first."""
        return self.follower.diagnosis()

    def since(self, cursor: str = "", points: int = 2000) -> dict[str, Any]:
        """What is new since a cursor, for a page that is open: see `lab.follow.Follower.since`."""
        return self.follower.since(cursor, points)

    def within(self, first: int, last: int, points: int = 2000) -> dict[str, Any]:
        """Its curves between two steps as they were logged: see `lab.follow.Follower.within`."""
        return self.follower.within(first, last, points)

    @cached_property
    def follower(self) -> Follower:
        from lab.follow import Follower

        return Follower(self.path)

    def _choose(self, step: int | None, steps: list[int], kind: str) -> int:
        if not steps:
            raise RunError(f"{self.path} has no {kind} yet.")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise RunError(f"{self.path} has no {kind} at step {step}. It has: {', '.join(map(str, steps))}.")
        return step


def runs(folder: str | Path) -> list[Run]:
    """The runs below a folder, newest first; what can't be read as a run is passed over."""
    found = []
    for path in read.find_runs(folder):
        try:
            found.append(Run(path))
        except RunError:
            continue
    return found


class _opened:
    """A safetensors file, opened without torch; a broken one gives RunError."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> Any:
        try:
            self._tensors = safe_open(str(self.file), framework="numpy")
            return self._tensors.__enter__()
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self.file} can't be read as safetensors: {error}.") from error

    def __exit__(self, *cause: Any) -> None:
        self._tensors.__exit__(*cause)
