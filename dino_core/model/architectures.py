"""What a published network is, in the sizes of its papers' tables, and how to build it.

Each is what `load_backbone` reads off a file's tensors, and what `PRESETS` are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from timm.layers import LayerNorm, Mlp, QuickGELU, SwiGLUPacked
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.vision_transformer import Block
from torch import nn

from dino_core.model.backbone import Backbone
from dino_core.model.featuremap import FeatureMap
from dino_core.model.positions import PositionedVit, Resampling
from dino_core.model.residual import SubsetBlock, set_stochastic_depth
from dino_core.model.ropevit import FeedForward, RopeVit
from dino_core.model.unfilled import unfilled_on_meta
from dino_core.model.vit import Vit

Activation = Literal["gelu", "quick_gelu"]


@dataclass(frozen=True, kw_only=True)
class LearnedVit:
    """A ViT with a table of learned positions: DINO (Caron et al. 2021, Sec. 3.2) and DINOv2 (Oquab et al. 2023, Sec. 4)."""

    dim: int
    depth: int
    heads: int
    patch: int
    """Side in pixels."""
    hidden: int
    """Features inside the MLP; of the gated half in SwiGLU."""
    grid: int
    """Rows and columns of the stored positions."""
    resampling: Resampling
    """How positions are brought to other grids."""
    ffn: Literal["mlp", "swiglu"] = "mlp"
    activation: Activation = "gelu"
    """Between the MLP's linear maps; QuickGELU, x σ(1.702 x), in OpenAI's CLIP."""
    pre_norm: bool = False
    """A norm before the blocks, and patches cut without a bias (CLIP, Radford et al. 2021)."""
    registers: int = 0
    """Tokens without a position (Darcet et al. 2023, arXiv 2309.16588)."""
    qkv_bias: bool = True
    layer_scale: bool = False
    """Each residual times a learned vector that starts at 1e-5 (Touvron et al. 2021)."""
    mask_token: bool = False
    eps: float = 1e-6
    """Of LayerNorm."""
    cls_std: float = 1e-6
    """Of the class token at the start: 0.02 in DINO's code, 1e-6 in DINOv2's."""

    @unfilled_on_meta
    def build(self, *, drop_path: float = 0.0, uniform: bool = False, subset: bool = False) -> Backbone:
        """With random weights; stochastic depth rises to `drop_path` in the last block, or is `uniform`.

        A `subset` of the batch takes part in a block, so that work is saved (`BatchSubset`)."""
        gated = self.ffn == "swiglu"
        between = nn.GELU if self.activation == "gelu" else QuickGELU
        model = PositionedVit(
            self.resampling,
            img_size=self.grid * self.patch,
            patch_size=self.patch,
            embed_dim=self.dim,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=((2 if gated else 1) * self.hidden + 0.5) / self.dim,  # timm rounds down
            mlp_layer=SwiGLUPacked if gated else Mlp,
            act_layer=nn.SiLU if gated else between,
            pre_norm=self.pre_norm,
            qkv_bias=self.qkv_bias,
            init_values=1e-5 if self.layer_scale else None,
            reg_tokens=self.registers,
            norm_layer=partial(LayerNorm, eps=self.eps),
            drop_path_rate=drop_path,
            block_fn=SubsetBlock if subset else Block,
        )
        if subset or uniform:
            set_stochastic_depth(list(model.blocks), drop_path, uniform=uniform, subset=subset)
        nn.init.trunc_normal_(model.cls_token, std=self.cls_std)
        return Vit(model, mask_token=self.mask_token)


@dataclass(frozen=True, kw_only=True)
class RotaryVit:
    """A ViT with rotary positions: DINOv3 (Siméoni et al. 2025, Sec. 3.2 and Table 2)."""

    dim: int
    depth: int
    heads: int
    patch: int
    """Side in pixels."""
    hidden: int
    """Features inside the MLP; of the gated half in SwiGLU."""
    ffn: FeedForward = "mlp"
    registers: int = 4
    qkv_bias: bool = True
    masked_key_bias: bool = True
    """The keys' part of the bias is multiplied by zero."""
    layer_scale: bool = True
    """Each residual times a learned vector that starts at 1e-5."""
    mask_token: bool = True
    cls_norm: bool = False
    """The class token and registers have a final norm of their own."""
    local_cls_norm: bool = False
    """Those of local crops do, in training."""
    eps: float = 1e-5
    """Of LayerNorm."""
    rescale: float | None = 2.0
    """In training all positions are multiplied or divided by up to so much."""

    @unfilled_on_meta
    def build(self, *, drop_path: float = 0.0, uniform: bool = True, subset: bool = False) -> Backbone:
        """With random weights; stochastic depth has one rate in all blocks, of which a `subset` of the batch may be left out."""
        return RopeVit(
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            patch=self.patch,
            hidden=self.hidden,
            ffn=self.ffn,
            registers=self.registers,
            qkv_bias=self.qkv_bias,
            masked_key_bias=self.masked_key_bias,
            layer_scale=1e-5 if self.layer_scale else None,
            mask_token=self.mask_token,
            cls_norm=self.cls_norm,
            local_cls_norm=self.local_cls_norm,
            eps=self.eps,
            rescale=self.rescale,
            drop_path=drop_path,
            subset=subset,
        )


@dataclass(frozen=True, kw_only=True)
class ConvNext:
    """ConvNeXt (Liu et al. 2022), into which DINOv3 distils (Siméoni et al. 2025, Sec. 7)."""

    depths: tuple[int, ...]
    """Blocks of the four stages."""
    dims: tuple[int, ...]
    """Features of the four stages."""
    layer_scale: bool = True
    eps: float = 1e-6
    """Of LayerNorm."""
    convolutional_mlp: bool = False
    """1×1 convolutions in place of linear maps, with the same meaning."""
    response_norm: bool = False
    """Global response normalisation (ConvNeXt V2, Woo et al. 2023)."""

    @unfilled_on_meta
    def build(self, *, drop_path: float = 0.0) -> Backbone:
        """With random weights; stochastic depth rises stage by stage to `drop_path`."""
        model = ConvNeXt(
            depths=self.depths,
            dims=self.dims,
            ls_init_value=1e-6 if self.layer_scale else None,
            norm_eps=self.eps,
            conv_mlp=self.convolutional_mlp,
            use_grn=self.response_norm,
            num_classes=0,
            drop_path_rate=drop_path,
        )
        return FeatureMap(model, "ConvNeXt")


@dataclass(frozen=True, kw_only=True)
class Residual:
    """ResNet (He et al. 2016; ResNet-50 in Caron et al. 2021, Table 2), strides in the 3×3 convolutions."""

    depths: tuple[int, ...]
    """Blocks of the four stages."""
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Of the four stages, before the bottleneck's fourfold expansion."""
    bottleneck: bool = True
    groups: int = 1
    """Of the 3×3 convolutions (ResNeXt)."""
    group_width: int = 64
    """Channels of a group in the first stage, where that has 64 channels."""

    @unfilled_on_meta
    def build(self, *, drop_path: float = 0.0) -> Backbone:
        """With random weights; stochastic depth rises to `drop_path` in the last block."""
        block: Any = Bottleneck if self.bottleneck else BasicBlock
        model = ResNet(
            block,
            self.depths,
            channels=self.channels,
            cardinality=self.groups,
            base_width=self.group_width,
            num_classes=0,
            drop_path_rate=drop_path,
        )
        return FeatureMap(model, "ResNet")


Architecture = LearnedVit | RotaryVit | ConvNext | Residual
