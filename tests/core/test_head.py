"""The projection head against the released one, built from torch's own weight normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from dino_core.config import Head as HeadConfig
from dino_core.errors import ConfigError
from dino_core.model import Head

SMALL = {"prototypes": 7, "hidden": 16, "bottleneck": 5}


@pytest.mark.parametrize("frozen_gain", [True, False])
def test_the_head_is_mlp_unit_length_and_weight_normalised_prototypes(frozen_gain: bool) -> None:
    head = Head(12, HeadConfig(**SMALL, frozen_gain=frozen_gain)).double()
    last = weight_norm(nn.Linear(5, 7, bias=False).double(), dim=0)
    last.parametrizations.weight.original1.data.copy_(head.prototypes.directions.data)
    if frozen_gain:
        last.parametrizations.weight.original0.data.fill_(1)
    else:
        gain = torch.rand(7, 1, dtype=torch.float64) + 0.5
        last.parametrizations.weight.original0.data.copy_(gain)
        head.prototypes.gain.data.copy_(gain)
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    z = head.mlp(x)
    expected = last(z / z.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(head(x), expected)
    ours, theirs = (torch.autograd.grad(y.square().sum(), w, retain_graph=True)[0] for y, w in (
        (head(x), head.prototypes.directions), (expected, last.parametrizations.weight.original1)))  # fmt: skip
    torch.testing.assert_close(ours, theirs)


def test_logits_are_cosines_when_the_gain_is_frozen() -> None:
    head = Head(12, HeadConfig(**SMALL))
    assert head(100 * torch.randn(50, 12)).abs().max() <= 1 + 1e-6
    assert head.prototypes.gain is None


def test_a_trainable_gain_starts_at_one() -> None:
    gain = Head(12, HeadConfig(**SMALL, frozen_gain=False)).prototypes.gain
    assert gain.requires_grad
    assert gain.shape == (7, 1)
    assert gain.eq(1).all()


@pytest.mark.parametrize(("layers", "widths"), [(1, [12, 5]), (2, [12, 16, 5]), (3, [12, 16, 16, 5])])
def test_the_mlp_has_as_many_layers_as_asked(layers: int, widths: list[int]) -> None:
    head = Head(12, HeadConfig(**SMALL, layers=layers))
    linear = [m for m in head.mlp if isinstance(m, nn.Linear)]
    assert [linear[0].in_features, *(m.out_features for m in linear)] == widths
    assert isinstance(head.mlp[-1], nn.Linear)


def test_the_mlp_starts_from_a_narrow_normal_without_biases() -> None:
    head = Head(384, HeadConfig(prototypes=8))
    for layer in (m for m in head.mlp if isinstance(m, nn.Linear)):
        assert layer.bias.eq(0).all()
        assert float(layer.weight.std()) == pytest.approx(0.02, rel=0.02)


def test_the_papers_head_has_the_papers_size() -> None:
    with torch.device("meta"):
        head = Head(384, HeadConfig(prototypes=65536))
    mlp = 384 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 256 + 256
    assert sum(p.numel() for p in head.parameters()) == mlp + 65536 * 256


def test_batch_normalisation_sees_all_views_and_images_at_once() -> None:
    head = Head(12, HeadConfig(**SMALL, batch_norm=True))
    x = torch.randn(4, 6, 12)
    torch.testing.assert_close(head(x), head(x.flatten(0, 1)).unflatten(0, (4, 6)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_zero_bottleneck_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    head = Head(12, HeadConfig(**SMALL)).to(dtype)
    assert head(torch.zeros(3, 12, dtype=dtype)).isfinite().all()


def test_an_open_number_of_prototypes_is_refused() -> None:
    with pytest.raises(ConfigError, match="number of prototypes is open"):
        Head(12, HeadConfig())
