"""From names that all publishers of a family are first brought to, to our networks and names, and back; sizes come from shapes.

LearnedVit reads DINOv2's names, RotaryVit DINOv3's, ConvNext and Residual timm's."""

from __future__ import annotations

import torch

from dino_core.errors import CheckpointError
from dino_core.model.architectures import Activation, ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.layouts.reading import Hints, Reading, Tensors, count, need, renamed
from dino_core.model.positions import Resampling
from dino_core.model.presets import PRESETS
from dino_core.model.ropevit import FeedForward
from dino_core.model.rotary import periods

BLOCK = r"blocks\.(\d+)\."


def learned(
    tensors: Tensors, hints: Hints, resampling: Resampling, eps: float = 1e-6, activation: Activation = "gelu"
) -> Reading:
    """A ViT with a position for the class token and each patch, none for registers; SwiGLU packed in `mlp.w12`."""
    patches = _patch_weight(tensors, "patch_embed.proj.weight")
    dim, depth = patches.shape[0], count(tensors, BLOCK)
    gated = "blocks.0.mlp.w12.weight" in tensors
    inner = need(tensors, f"blocks.0.mlp.{'w12' if gated else 'fc1'}.weight").shape[0]
    positions = need(tensors, "pos_embed").shape[1] - 1
    grid = round(positions**0.5)
    if grid**2 != positions:
        raise CheckpointError(f"its {positions} positions are no square grid.")
    hidden = inner // 2 if gated else inner
    architecture = LearnedVit(
        dim=dim,
        depth=depth,
        heads=_heads(hints, dim, depth, hidden),
        patch=patches.shape[-1],
        hidden=hidden,
        grid=grid,
        resampling=resampling,
        ffn="swiglu" if gated else "mlp",
        activation=activation,
        pre_norm="norm_pre.weight" in tensors,
        registers=tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0,
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
        layer_scale="blocks.0.ls1.gamma" in tensors,
        mask_token="mask_token" in tensors,
        eps=eps,
    )
    weights = renamed(
        tensors, [(r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."), ("^register_tokens$", "reg_token")]
    )
    return Reading(architecture, _flat_mask({f"model.{k}" if k != "mask_token" else k: v for k, v in weights.items()}))


def learned_names(weights: Tensors) -> Tensors:
    """DINOv2's names of a LearnedVit's weights, SwiGLU packed in `mlp.fc1` and `mlp.fc2` as in timm."""
    rules = [(r"^model\.", ""), ("^reg_token$", "register_tokens")]
    return {k: v.view(1, -1) if k == "mask_token" else v for k, v in renamed(weights, rules).items()}


def unlike(architecture: LearnedVit, rule: Resampling, eps: float) -> tuple[str, ...]:
    """What the code that reads a layout does in its own way."""
    said = []
    if architecture.resampling != rule:
        said.append(
            f"at other sizes than {architecture.grid * architecture.patch} px its code resamples positions in a way of its "
            "own, so features differ a little there."
        )
    return (*said, *other_eps(architecture.eps, eps))


def other_eps(ours: float, theirs: float) -> tuple[str, ...]:
    return () if ours == theirs else (f"its code adds {theirs:g} to variances in norms, this network {ours:g}.",)


def heads_to_give(architecture: LearnedVit) -> tuple[str, ...]:
    """Where nothing in the layout tells them."""
    heads, dim = architecture.heads, architecture.dim
    told = _published_heads(dim, architecture.depth, architecture.hidden) or (0 if dim % 64 else dim // 64)
    return (
        () if heads == told else (f"the layout does not tell its {heads} heads: give heads={heads} when you load it.",)
    )


def rotary(
    tensors: Tensors, hints: Hints, eps: float = 1e-5, base: float = 100.0, gate: FeedForward = "swiglu"
) -> Reading:
    """A ViT with rotary positions; SwiGLU as `mlp.w1` (gate), `w2`, `w3`.

    `rope_embed.periods` tell the number of heads; without them they have the published `base`."""
    tensors = {k: v for k, v in tensors.items() if k != "storage_tokens" or v.numel()}  # transformers stores none, too
    patches = _patch_weight(tensors, "patch_embed.proj.weight")
    dim, depth = patches.shape[0], count(tensors, BLOCK)
    gated = "blocks.0.mlp.w1.weight" in tensors
    hidden = need(tensors, f"blocks.0.mlp.{'w1' if gated else 'fc1'}.weight").shape[0]
    stored = tensors.get("rope_embed.periods")
    heads = _heads(hints, dim, depth, hidden, None if stored is None else 4 * len(stored))
    if dim % (4 * heads):
        raise CheckpointError(f"rotary positions need heads of a multiple of 4 features; {heads} heads share {dim}.")
    architecture = RotaryVit(
        dim=dim,
        depth=depth,
        heads=heads,
        patch=patches.shape[-1],
        hidden=hidden,
        ffn=gate if gated else "mlp",
        registers=tensors["storage_tokens"].shape[1] if "storage_tokens" in tensors else 0,
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
        masked_key_bias="blocks.0.attn.qkv.bias_mask" in tensors,
        layer_scale="blocks.0.ls1.gamma" in tensors,
        mask_token="mask_token" in tensors,
        cls_norm="cls_norm.weight" in tensors,
        local_cls_norm="local_cls_norm.weight" in tensors,
        eps=eps,
    )
    weights = {"rope_embed.periods": periods(dim // heads, base), **tensors}
    rules = [
        (r"^patch_embed\.proj\.", "patch_embed."),
        ("^storage_tokens$", "register_tokens"),
        (r"^rope_embed\.", "rotary."),
        (r"^blocks\.", "layers."),
        (r"\.qkv\.bias_mask$", ".bias_mask"),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ]
    return Reading(architecture, _flat_mask(renamed(weights, rules)))


def rotary_names(weights: Tensors) -> Tensors:
    """DINOv3's names of a RotaryVit's weights."""
    rules = [
        (r"^patch_embed\.", "patch_embed.proj."),
        ("^register_tokens$", "storage_tokens"),
        (r"^rotary\.", "rope_embed."),
        (r"^layers\.", "blocks."),
        (r"\.attn\.bias_mask$", ".attn.qkv.bias_mask"),
        *([(r"\.mlp\.fc2\.", ".mlp.w3.")] if any(".mlp.fc1_g." in key for key in weights) else []),
        (r"\.mlp\.fc1_g\.", ".mlp.w1."),
        (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    ]
    return {k: v.view(1, -1) if k == "mask_token" else v for k, v in renamed(weights, rules).items()}


def base_of(turns: torch.Tensor) -> float:
    """The base of rotary periods; 100 also where they were rounded to bfloat16, as in the released weights."""
    n = len(turns)
    found = float(turns[-1]) ** (n / max(n - 1, 1))
    return 100.0 if abs(found / 100 - 1) < 0.02 else round(found, 6)


def convnext(tensors: Tensors, hints: Hints, eps: float = 1e-6) -> Reading:
    """Stages of blocks with `conv_dw`, `norm`, `mlp.fc1`, `mlp.fc2` and `gamma`; the last norm in `head.norm`."""
    stages = count(tensors, r"stages\.(\d+)\.")
    if stages != 4:
        raise CheckpointError(f"it has {stages} stages; a ConvNeXt has 4.")
    _three_channels(need(tensors, "stem.0.weight").shape[1])
    architecture = ConvNext(
        depths=tuple(count(tensors, rf"stages\.{s}\.blocks\.(\d+)\.") for s in range(4)),
        dims=tuple(need(tensors, f"stages.{s}.blocks.0.conv_dw.weight").shape[0] for s in range(4)),
        layer_scale="stages.0.blocks.0.gamma" in tensors,
        eps=eps,
        convolutional_mlp=need(tensors, "stages.0.blocks.0.mlp.fc1.weight").ndim == 4,
        response_norm="stages.0.blocks.0.mlp.grn.weight" in tensors,
    )
    return Reading(architecture, {f"model.{key}": tensor for key, tensor in tensors.items()})


def residual(tensors: Tensors, hints: Hints) -> Reading:
    """`conv1`, `bn1`, then `layer1` … `layer4` of blocks with two or three convolutions."""
    _three_channels(need(tensors, "conv1.weight").shape[1])
    bottleneck = "layer1.0.conv3.weight" in tensors
    last = "conv3" if bottleneck else "conv2"
    expanded = tuple(need(tensors, f"layer{s}.0.{last}.weight").shape[0] for s in range(1, 5))
    spatial = need(tensors, "layer1.0.conv2.weight")
    channels = tuple(c // 4 for c in expanded) if bottleneck else expanded
    groups = spatial.shape[0] // spatial.shape[1]
    architecture = Residual(
        depths=tuple(count(tensors, rf"layer{s}\.(\d+)\.") for s in range(1, 5)),
        channels=channels,
        bottleneck=bottleneck,
        groups=groups,
        group_width=64 * spatial.shape[0] // (groups * channels[0]),
    )
    return Reading(architecture, {f"model.{key}": tensor for key, tensor in tensors.items()})


def _heads(hints: Hints, dim: int, depth: int, hidden: int, head_dim: int | None = None) -> int:
    """What the file says, else the caller, else the published network of that size, else one for 64 features."""
    stated = hints.config.get("num_attention_heads") if head_dim is None else dim // head_dim
    if stated is not None:
        if hints.heads not in (None, stated):
            raise CheckpointError(f"it has {stated} heads, not {hints.heads}; leave `heads` out.")
        heads = int(stated)
    elif hints.heads is not None:
        heads = hints.heads
    else:
        heads = _published_heads(dim, depth, hidden) or dim // 64
        if dim % 64:
            raise CheckpointError(
                f"it does not say how many heads share {dim} features, no multiple of 64; give `heads`."
            )
    if heads < 1 or dim % heads:
        raise CheckpointError(f"{heads} heads do not divide {dim} features; give another number of `heads`.")
    return heads


def _published_heads(dim: int, depth: int, hidden: int) -> int | None:
    """Of the preset of that size: DINOv3's 7B has 128 features a head, all others 64."""
    for preset in PRESETS.values():
        a = preset.architecture
        if isinstance(a, LearnedVit | RotaryVit) and (a.dim, a.depth, a.hidden) == (dim, depth, hidden):
            return a.heads
    return None


def _patch_weight(tensors: Tensors, key: str) -> torch.Tensor:
    """The convolution that cuts patches (D 3 p p)."""
    weight = need(tensors, key)
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise CheckpointError(f"{key} has the shape {tuple(weight.shape)}; expected (features, 3, patch, patch).")
    _three_channels(weight.shape[1])
    return weight


def _three_channels(channels: int) -> None:
    if channels != 3:
        raise CheckpointError(f"its images have {channels} channels; expected 3.")


def _flat_mask(weights: Tensors) -> Tensors:
    """The mask token as (D,)."""
    return {k: v.flatten() if k == "mask_token" else v for k, v in weights.items()}
