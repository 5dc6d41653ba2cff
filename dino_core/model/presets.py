"""Every model in the tables of the three papers.

`PRESETS["dinov2_vits14"].build()` gives a backbone with random weights, in meta memory too:

    with torch.device("meta"):
        giant = PRESETS["dinov3_vit7b16"].build()"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dino_core.model.architectures import Architecture, ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.backbone import Backbone
from dino_core.model.positions import ANTIALIASED, OFFSET

DINO = "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294"
DINOV2 = "Oquab et al. 2023, DINOv2: Learning Robust Visual Features without Supervision, arXiv 2304.07193"
REGISTERS = "Darcet et al. 2023, Vision Transformers Need Registers, arXiv 2309.16588"
DINOV3 = "Siméoni et al. 2025, DINOv3, arXiv 2508.10104"
PUBLISHED = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Preset:
    """One row of a paper's table."""

    name: str
    paper: str
    architecture: Architecture
    parameters: int
    """Of the backbone alone, positions of the stored grid, mask token and training-only norms included."""
    pixels: int
    """Side of the images it was published at."""
    url: str | None
    """Where its weights are published; None where they are sent on request (DINOv3)."""

    def build(self, *, drop_path: float = 0.0) -> Backbone:
        """The backbone with random weights, on the current default device."""
        return self.architecture.build(drop_path=drop_path)


def _dino() -> list[Preset]:
    """Table 1 and Table 2 (ViT-S is DeiT's, hence the files' names); positions of 224 px."""
    small = LearnedVit(dim=384, depth=12, heads=6, patch=16, hidden=1536, grid=14, resampling=OFFSET, cls_std=0.02)
    base = replace(small, dim=768, heads=12, hidden=3072)
    resnet50 = Residual(depths=(3, 4, 6, 3))
    table: list[tuple[str, Architecture, int, str]] = [
        ("dino_resnet50", resnet50, 23_508_032, "dino_resnet50"),
        ("dino_vits16", small, 21_665_664, "dino_deitsmall16"),
        ("dino_vits8", replace(small, patch=8, grid=28), 21_670_272, "dino_deitsmall8"),
        ("dino_vitb16", base, 85_798_656, "dino_vitbase16"),
        ("dino_vitb8", replace(base, patch=8, grid=28), 85_807_872, "dino_vitbase8"),
    ]
    return [
        Preset(name, DINO, architecture, parameters, 224, f"{PUBLISHED}/dino/{file}_pretrain/{file}_pretrain.pth")
        for name, architecture, parameters, file in table
    ]


def _dinov2() -> list[Preset]:
    """Table 16 (architectures), each also with four registers; positions of 518 px.  The giant has SwiGLU."""
    small = LearnedVit(
        dim=384, depth=12, heads=6, patch=14, hidden=1536, grid=37, resampling=OFFSET, layer_scale=True, mask_token=True
    )
    table = [
        ("s", small, 22_056_576),
        ("b", replace(small, dim=768, heads=12, hidden=3072), 86_580_480),
        ("l", replace(small, dim=1024, depth=24, heads=16, hidden=4096), 304_368_640),
        ("g", replace(small, dim=1536, depth=40, heads=24, hidden=4096, ffn="swiglu"), 1_136_480_768),
    ]
    presets = []
    for letter, plain, parameters in table:
        folder = f"{PUBLISHED}/dinov2/dinov2_vit{letter}14/dinov2_vit{letter}14"
        registers = replace(plain, registers=4, resampling=ANTIALIASED)
        presets += [
            Preset(f"dinov2_vit{letter}14", DINOV2, plain, parameters, 518, f"{folder}_pretrain.pth"),
            Preset(
                f"dinov2_vit{letter}14_reg4",
                REGISTERS,
                registers,
                parameters + 4 * plain.dim,
                518,
                f"{folder}_reg4_pretrain.pth",
            ),
        ]
    return presets


def _dinov3() -> list[Preset]:
    """Table 2 (the 7B) and Sec. 7 (what is distilled from it).  Only the 7B has no qkv bias and ends local crops apart."""
    small = RotaryVit(dim=384, depth=12, heads=6, patch=16, hidden=1536)
    huge = replace(small, dim=1280, depth=32, heads=20, hidden=5120, ffn="swiglu")
    unbiased = replace(huge, qkv_bias=False, masked_key_bias=False)
    seven = replace(unbiased, dim=4096, depth=40, heads=32, hidden=8192, local_cls_norm=True)
    tiny = ConvNext(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768))
    deep = (3, 3, 27, 3)
    table: list[tuple[str, Architecture, int]] = [
        ("vits16", small, 21_601_152),
        ("vits16plus", replace(small, ffn="swiglu"), 28_697_472),
        ("vitb16", replace(small, dim=768, heads=12, hidden=3072), 85_669_632),
        ("vitl16", replace(small, dim=1024, depth=24, heads=16, hidden=4096), 303_154_176),
        ("vith16plus", huge, 840_633_600),
        ("vit7b16", seven, 6_716_043_264),
        ("convnext_tiny", tiny, 27_820_128),
        ("convnext_small", replace(tiny, depths=deep), 49_454_688),
        ("convnext_base", ConvNext(depths=deep, dims=(128, 256, 512, 1024)), 87_566_464),
        ("convnext_large", ConvNext(depths=deep, dims=(192, 384, 768, 1536)), 196_230_336),
    ]
    return [
        Preset(f"dinov3_{name}", DINOV3, architecture, parameters, 224, None)
        for name, architecture, parameters in table
    ]


PRESETS: dict[str, Preset] = {preset.name: preset for preset in [*_dino(), *_dinov2(), *_dinov3()]}
