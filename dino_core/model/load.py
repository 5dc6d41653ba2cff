"""`load_backbone`: a frozen backbone from a run, a file as published, a folder, or a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dino_core.errors import CheckpointError, ConfigError
from dino_core.model.backbone import Backbone
from dino_core.model.download import hub_files, published_file, timm_file
from dino_core.model.eva import EvaVit
from dino_core.model.featuremap import FeatureMap
from dino_core.model.files import SUFFIXES, open_weights, read_config, weights_in
from dino_core.model.layouts import LAYOUTS, identify, own
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors
from dino_core.model.layouts.unwrapping import NETWORKS, unwrapped
from dino_core.model.presets import PRESETS
from dino_core.model.teacher import load_teacher
from dino_core.model.unfilled import unfilled_on_meta
from dino_core.model.vit import Vit
from dino_core.rundir.read import checkpoints
from dino_core.rundir.schema import CHECKPOINTS, RUN, step_name

Which = Literal["teacher", "student"]


def load_backbone(
    source: str | Path,
    *,
    which: Which = "teacher",
    heads: int | None = None,
    device: str | torch.device = "cpu",
) -> Backbone:
    """A frozen backbone in eval mode, in float32.

    `source` is one of
    - a run directory (its newest checkpoint), or one of its checkpoint folders;
    - a file (`.pth`, `.pt`, `.safetensors`) as published by facebookresearch's dino, dinov2 and dinov3, by timm or by
      transformers, or a folder as the latter two save it;
    - a name: of `PRESETS` (official weights), of timm, or `hf:OWNER/NAME` on the Hugging Face hub;
    - `random:NAME`, a preset or timm's network with the random weights it would begin with, always the same ones.

    `which` chooses where a file holds both networks.  The architecture is read off the tensors; `heads` is asked for only
    where nothing tells it (by default that of the published network of that size, else a head for 64 features).
    At other sizes than the stored one, positions are resampled as in the code that the file was published for.

    Raises `CheckpointError`, naming the file, for anything else.  Pickles are opened with `weights_only=True`."""
    if which not in NETWORKS:
        raise CheckpointError(f"no network {which!r}; choose {' or '.join(NETWORKS)}.")
    backbone = _opened(source, which, heads)
    return backbone.requires_grad_(False).eval().to(device)


def _opened(source: str | Path, which: Which, heads: int | None) -> Backbone:
    name, path = str(source), Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path, which, heads)
    if path.is_file() or isinstance(source, Path) or path.suffix in SUFFIXES:
        return _from_files([path], which, heads)
    if name in PRESETS:
        return _from_files([published_file(PRESETS[name])], which, heads)
    if name.startswith(("hf:", "hf-hub:")):
        return _from_files(hub_files(name.split(":", 1)[1]), which, heads)
    if name.startswith("random:"):
        return _untrained(name.removeprefix("random:"))
    if timm.is_model(name):
        return _from_timm(name, unwrapped(open_weights(timm_file(name)), which))
    raise CheckpointError(
        f"{name} is no file or folder, and no name of a preset ({', '.join(PRESETS)}), of timm (timm.list_pretrained()) "
        "or hf:OWNER/NAME; random:NAME gives it untrained."
    )


def _untrained(name: str) -> Backbone:
    if name not in PRESETS and not timm.is_model(name):
        raise CheckpointError(f"random:{name} is no name of a preset ({', '.join(PRESETS)}) or of timm.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in PRESETS:
            return PRESETS[name].build()
        return adapted(timm.create_model(name, num_classes=0, **_any_size(name)), name)


def _from_folder(folder: Path, which: Which, heads: int | None) -> Backbone:
    if (folder / "teacher.safetensors").is_file() or (folder / "model.json").is_file():
        return _teacher(folder, which)
    if (folder / RUN).is_file() or (folder / CHECKPOINTS).is_dir():
        steps = checkpoints(folder)
        if not steps:
            raise CheckpointError(f"{folder} has no checkpoint yet; give a run that has written one.")
        return _teacher(folder / CHECKPOINTS / step_name(steps[-1]), which)
    files = weights_in(folder)
    if files:
        return _from_files(files, which, heads)
    if (folder / ".metadata").is_file():
        raise CheckpointError(
            f"{folder} is a sharded checkpoint, to resume from; make a file of it: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pth"
        )
    inside = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
    raise CheckpointError(f"{folder} is no run, no checkpoint and has no file of weights; it contains {inside}.")


def _teacher(folder: Path, which: Which) -> Backbone:
    if which != "teacher":
        raise CheckpointError(
            f"{folder} keeps the teacher alone for readers; the {which} can only be trained on (resume)."
        )
    return load_teacher(folder).backbone


def _from_files(files: list[Path], which: Which, heads: int | None) -> Backbone:
    """The network whose tensors are in these files; there is more than one where it was saved in shards."""
    folder = files[0].parent
    if files[0].name == "teacher.safetensors" and (folder / "model.json").is_file():
        return _teacher(folder, which)
    path, found = files[0], open_weights(files[0])
    for shard in files[1:]:
        found |= open_weights(shard)
    config = read_config(folder)
    try:
        tensors = unwrapped(found, which)
        if "architecture" in config and timm.is_model(str(config["architecture"])):
            return _from_timm(str(config["architecture"]), tensors, config.get("model_args") or {})
        known = own.told(path)
        layout = identify(tensors) if known is None else own.layout(known)
        if layout is None:
            raise CheckpointError(f"no known layout begins with {_top(tensors or found)}. {_known()}")
        return _built(layout, layout.read(tensors, Hints(heads, {} if "architecture" in config else config)))
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _built(layout: Layout, reading: Reading) -> Backbone:
    """The network of a reading, filled without having been initialised."""
    with torch.device("meta"):
        backbone = reading.architecture.build()
    expected = backbone.state_dict()
    weights = reading.weights
    wrong = [
        *(f"it has no {key}" for key in expected.keys() - weights.keys()),
        *(f"nothing is known of {key}" for key in weights.keys() - expected.keys()),
        *(
            f"{key} has the shape {tuple(weights[key].shape)}, not {tuple(expected[key].shape)}"
            for key in expected.keys() & weights.keys()
            if weights[key].shape != expected[key].shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"it looks like {layout.name}, but {'; '.join(sorted(wrong)[:3])}{more}. {_known()}")
    backbone.load_state_dict({key: _plain(tensor) for key, tensor in weights.items()}, assign=True)
    return backbone


def _plain(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _from_timm(name: str, tensors: Tensors, options: dict[str, Any] | None = None) -> Backbone:
    """timm's own network: what tensors do not tell (activations, norms before the blocks) is as timm has it."""
    try:
        with torch.random.fork_rng(devices=[]):
            model = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg_overlay={"state_dict": tensors},
                num_classes=0,
                **{**(options or {}), **_any_size(name)},
            )
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"it does not fit timm's {name}: {' '.join(str(error).split())[:300]}") from error
    return adapted(model, name)


def _any_size(name: str) -> dict[str, Any]:
    """What lets timm's ViTs take images of other sizes than they were made for."""
    with torch.device("meta"):
        plain = _on_meta(name)
    return {"dynamic_img_size": True} if isinstance(plain, VisionTransformer | Eva) else {}


@unfilled_on_meta
def _on_meta(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=0)


def adapted(model: nn.Module, name: str) -> Backbone:
    """A model of timm as a backbone.  Where timm normalises after pooling, tokens go through that norm."""
    if isinstance(model, VisionTransformer | Eva):
        if isinstance(model.norm, nn.Identity) and not isinstance(model.fc_norm, nn.Identity):
            model.norm, model.fc_norm = model.fc_norm, nn.Identity()
        return Vit(model) if isinstance(model, VisionTransformer) else EvaVit(model)
    return FeatureMap(model, name)


def _top(found: dict[Any, Any]) -> str:
    """The first few keys."""
    keys = [str(key) for key in found]
    return (", ".join(keys[:6]) + (", …" if len(keys) > 6 else "")) or "nothing"


def _known() -> str:
    layouts = ", ".join(layout.name for layout in LAYOUTS)
    return f"Layouts: {layouts}; of any other network that timm has, give timm's name or a folder with its config.json."
