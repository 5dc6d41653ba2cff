"""`torch.hub.load(CLONE, "dinov2_vits14", source="local")`: every model of the three papers' tables, by its published name.

Each entry point takes `pretrained` (official weights; downloaded once where they are public) or `weights` (a file in any layout
that `load_backbone` reads) and gives a backbone: images in, tokens out, as `dino_core.model.Backbone` says."""

dependencies = ["torch", "torchvision", "timm", "safetensors", "jaxtyping"]

from dino_core.model.hub import entry_points as _entry_points  # noqa: E402

globals().update(_entry_points())
