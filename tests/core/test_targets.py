"""Centering and Sinkhorn-Knopp: against loop nests, at extremes, and over two ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dino_core.objective.targets import Centering, sinkhorn
from dino_core.parallel import rank
from tests import oracles
from tests.ranks import run_on_ranks


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_centering_is_the_softmax_of_what_is_above_the_centre() -> None:
    centering = Centering(5).double()
    centering.centre.copy_(logits(5, seed=1))
    x = logits(4, 5)
    torch.testing.assert_close(centering(x, 0.2), oracles.centred(x, centering.centre, 0.2))


def test_reading_does_not_move_the_centre() -> None:
    centering = Centering(5)
    centering(logits(4, 5), 0.04)
    assert centering.centre.eq(0).all()


def test_the_centre_follows_the_mean_of_raw_logits_over_views_and_images() -> None:
    centering, expected = Centering(5, momentum=0.8).double(), torch.zeros(5, dtype=torch.float64)
    for seed in range(3):
        x = logits(2, 3, 5, seed=seed)
        centering.update(x)
        expected = oracles.moved_centre(expected, x.flatten(0, 1), 0.8)
    torch.testing.assert_close(centering.centre, expected)


def test_the_centre_is_saved_with_the_module_and_is_never_trained() -> None:
    centering = Centering(5)
    assert list(centering.state_dict()) == ["centre"]
    assert not list(centering.parameters())


def test_half_precision_logits_move_the_centre_in_single_precision() -> None:
    centering = Centering(3)
    centering.update(torch.full((2048, 3), 1.001).half())
    assert centering.centre.dtype == torch.float32
    torch.testing.assert_close(centering.centre, torch.full((3,), 0.1 * float(torch.tensor(1.001).half())))
    assert centering(torch.zeros(2, 3).half(), 0.04).dtype == torch.float32


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_sinkhorn_scales_prototypes_and_rows_in_turn(iterations: int) -> None:
    x = logits(6, 4)
    torch.testing.assert_close(sinkhorn(x, 0.3, iterations), oracles.sinkhorn(x, 0.3, iterations))


def test_sinkhorn_of_equal_logits_is_uniform() -> None:
    torch.testing.assert_close(sinkhorn(torch.full((6, 4), 3.0), 0.04), torch.full((6, 4), 0.25))


def test_sinkhorn_uses_all_prototypes_equally_in_the_limit() -> None:
    mass = sinkhorn(logits(12, 4), 0.5, iterations=200).sum(0)
    torch.testing.assert_close(mass, torch.full((4,), 3.0, dtype=torch.float64))


@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4, 1e20, 1e38]),
    temperature=st.sampled_from([0.04, 0.1, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
def test_rows_of_sinkhorn_sum_to_one_for_any_finite_logits(
    scale: float, temperature: float, dtype: torch.dtype, seed: int
) -> None:
    x = (logits(8, 5, seed=seed).clamp(-3, 3) * scale).to(dtype)
    q = sinkhorn(x, temperature)
    assert (q >= 0).all()
    torch.testing.assert_close(q.sum(-1), torch.ones(8, dtype=q.dtype))


def test_a_prototype_that_nothing_is_near_does_not_break_sinkhorn() -> None:
    x = logits(6, 4).float()
    x[:, 2] = -1e4
    x[3] = -2e4
    q = sinkhorn(x, 0.04)
    assert q.isfinite().all()
    torch.testing.assert_close(q.sum(-1), torch.ones(6))


def test_sinkhorn_without_iterations_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sinkhorn(logits(2, 3), 0.1, iterations=0)


def targets_of_this_rank(everything: Tensor) -> tuple[Tensor, Tensor]:
    own = everything.chunk(2)[rank()]
    centering = Centering(everything.shape[1], momentum=0.5).double()
    centering.update(own.unflatten(0, (2, -1)))
    return centering.centre, sinkhorn(own, 0.1)


def test_two_ranks_have_the_centre_and_the_assignments_of_one() -> None:
    everything = logits(8, 5)
    everything[6] += 40  # the largest logits are on one rank alone
    one = Centering(5, momentum=0.5).double()
    one.update(everything)
    results = run_on_ranks(targets_of_this_rank, 2, everything)
    for centre, _ in results:
        torch.testing.assert_close(centre, one.centre)
    torch.testing.assert_close(torch.cat([q for _, q in results]), sinkhorn(everything, 0.1))
