"""The image tower of CLIP (Radford et al. 2021, arXiv 2103.00020) as OpenCLIP and transformers publish it.

Both networks of the pair are in one file; text is left out, and so is the projection to the shared space.  Tensors do not
tell GELU from QuickGELU: the file beside them does (`open_clip_config.json`, `config.json`)."""

from __future__ import annotations

import re

import torch

from dino_core.errors import CheckpointError
from dino_core.model.architectures import Activation
from dino_core.model.layouts import families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, need, renamed
from dino_core.model.positions import ANTIALIASED, PLAIN

EPS = 1e-5
OPEN_CLIP = [
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.ls_(\d)\.", r".ls\1."),
]
TRANSFORMERS = [
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
]


def recognise_open_clip(tensors: Tensors) -> bool:
    return {"visual.class_embedding", "visual.conv1.weight", "visual.positional_embedding"} <= tensors.keys()


def read_open_clip(tensors: Tensors, hints: Hints) -> Reading:
    """OpenAI's own state dicts are told by the sizes they carry; their activation is always QuickGELU."""
    config = hints.config.get("model_cfg", {})
    vision = config.get("vision_cfg", {})
    openai = "input_resolution" in tensors
    if not config and not openai:
        raise _silent("open_clip_config.json")
    tower = {k.removeprefix("visual."): v for k, v in tensors.items() if k.startswith("visual.") and k != "visual.proj"}
    width = need(tower, "class_embedding").shape[-1]
    if hints.heads is None:
        hints = Hints(width // int(vision.get("head_width", 64)), {})
    activation: Activation = "quick_gelu" if openai or config.get("quick_gelu") else "gelu"
    return families.learned(_shaped(renamed(tower, OPEN_CLIP)), hints, ANTIALIASED, EPS, activation)


def recognise_transformers(tensors: Tensors) -> bool:
    return any(re.fullmatch(r"(vision_model\.)?embeddings\.class_embedding", key) for key in tensors)


def read_transformers(tensors: Tensors, hints: Hints) -> Reading:
    config = hints.config.get("vision_config", hints.config)
    if "hidden_act" not in config:
        raise _silent("config.json")
    prefix = "vision_model." if "vision_model.embeddings.class_embedding" in tensors else ""
    inside = re.compile(rf"{re.escape(prefix)}(embeddings|encoder|pre_layrnorm|post_layernorm)\.")
    tower = {k.removeprefix(prefix): v for k, v in tensors.items() if inside.match(k) and "position_ids" not in k}
    tower = renamed(tower, TRANSFORMERS)
    for key in [key for key in tower if ".self_attn.q_proj." in key]:
        parts = [tower.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        tower[key.replace(".self_attn.q_proj.", ".attn.qkv.")] = torch.cat(parts)
    activations: dict[str, Activation] = {"quick_gelu": "quick_gelu", "gelu": "gelu"}
    found = str(config["hidden_act"])
    if found not in activations:
        raise CheckpointError(
            f"its config.json says {found!r} between linear maps; expected {' or '.join(activations)}."
        )
    eps = float(config.get("layer_norm_eps", EPS))
    return families.learned(_shaped(tower), Hints(hints.heads, config), PLAIN, eps, activations[found])


def _shaped(tower: Tensors) -> Tensors:
    """The class token as (1 1 D), positions as (1 1+N D)."""
    cls, table = need(tower, "cls_token"), need(tower, "pos_embed")
    return {**tower, "cls_token": cls.view(1, 1, -1), "pos_embed": table.unsqueeze(0)}


def _silent(config: str) -> CheckpointError:
    return CheckpointError(
        f"towers of CLIP differ in what their tensors do not tell; put its {config} beside the file, or give timm's name."
    )


OPEN = Layout("OpenCLIP (image tower)", recognise_open_clip, read_open_clip)
HUGGING_FACE = Layout("transformers (CLIP)", recognise_transformers, read_transformers)
