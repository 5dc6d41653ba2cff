"""The terms of the losses against the loop nests of their equations, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from dino_core.objective.terms import cross_view, gram, koleo, masked_patch
from tests import oracles


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def probabilities(*shape: int, seed: int = 1) -> Tensor:
    return (2 * logits(*shape, seed=seed)).softmax(-1)


MASKS = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)


def agree(
    ours: Callable[..., Tensor], oracle: Callable[..., Tensor], x: Tensor, *others: object, **options: object
) -> None:
    """Same value, and same gradient in the first argument."""
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    mine, theirs = ours(a, *others, **options), oracle(b, *others, **options)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    mine.backward()
    theirs.backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("students", "teachers"), [(1, 2), (2, 1), (2, 2), (5, 2), (3, 3)])
@pytest.mark.parametrize("skip", [True, False])
def test_cross_view_is_the_mean_over_pairs_and_images(students: int, teachers: int, skip: bool) -> None:
    x, t = logits(students, 3, 4), probabilities(teachers, 3, 4)
    agree(cross_view, oracles.cross_view, x, t, temperature=0.3, skip_same_view=skip)


def test_cross_view_passes_gradcheck() -> None:
    t = probabilities(2, 2, 5)
    assert torch.autograd.gradcheck(lambda x: cross_view(x, t, 0.2), logits(4, 2, 5).requires_grad_())


def test_gradient_of_cross_view_flows_to_targets_where_asked() -> None:
    targets = probabilities(2, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: cross_view(logits(4, 2, 5), t, 0.2), targets)


def test_with_two_global_and_eight_local_crops_all_eighteen_pairs_weigh_the_same() -> None:
    """One view at a time is made to cost c; the loss is c times its number of pairs over 18."""
    k = 6
    for view in range(10):
        student = torch.zeros(10, 1, k, dtype=torch.float64)
        student[view] = logits(1, k)
        targets = probabilities(1, 1, k).expand(2, 1, k)
        cost = oracles.cross_entropy(targets[0, 0], student[view, 0], 0.1)
        pairs = 1 if view < 2 else 2
        expected = (pairs * cost + (18 - pairs) * math.log(k)) / 18
        torch.testing.assert_close(cross_view(student, targets), expected)


def test_a_uniform_student_costs_the_logarithm_of_the_number_of_prototypes() -> None:
    assert float(cross_view(torch.full((4, 3, 7), 2.5), probabilities(2, 3, 7).float())) == pytest.approx(math.log(7))


def test_cross_view_does_not_compare_a_view_with_itself() -> None:
    """A student that is certain of the teacher's own view and wrong about nothing else pays nothing for that view."""
    student, targets = logits(2, 3, 4), probabilities(2, 3, 4)
    by_hand = (oracles.cross_view(student[:1], targets[1:], skip_same_view=False)
               + oracles.cross_view(student[1:], targets[:1], skip_same_view=False)) / 2  # fmt: skip
    torch.testing.assert_close(cross_view(student, targets), by_hand)


def test_cross_view_of_one_view_with_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="leave no pair of different views"):
        cross_view(logits(1, 2, 3), probabilities(1, 2, 3))
    assert cross_view(logits(1, 2, 3), probabilities(1, 2, 3), skip_same_view=False).isfinite()


def test_cross_view_is_finite_for_extreme_logits() -> None:
    x = torch.tensor([[[1e4, -1e4, 0.0]], [[-3e4, 3e4, 0.0]]], requires_grad=True)
    loss = cross_view(x, probabilities(2, 1, 3).float())
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_masked_patch_weighs_each_crop_by_its_number_of_masked_patches() -> None:
    agree(masked_patch, oracles.masked_patch, logits(4, 5), probabilities(4, 5), MASKS, temperature=0.3)


def test_crops_without_masks_count_in_the_divisor_of_masked_patch() -> None:
    """Every masked crop costs ln K; two of three are masked."""
    assert float(masked_patch(torch.zeros(4, 5), probabilities(4, 5).float(), MASKS)) == pytest.approx(
        math.log(5) * 2 / 3
    )


def test_masked_patch_of_no_patches_is_zero_and_still_has_a_gradient() -> None:
    x = torch.zeros(0, 5, requires_grad=True)
    loss = masked_patch(x, torch.zeros(0, 5), torch.zeros(3, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert x.grad.shape == (0, 5)


def test_masked_patch_refuses_rows_that_masks_do_not_explain() -> None:
    with pytest.raises(ValueError, match="3 patches for masks that hide 4"):
        masked_patch(logits(3, 5), probabilities(3, 5), MASKS)


def test_koleo_is_minus_the_log_distance_to_the_nearest_neighbour() -> None:
    agree(koleo, oracles.koleo, logits(6, 3))


def test_koleo_of_two_orthogonal_vectors_is_minus_half_the_logarithm_of_two() -> None:
    assert float(koleo(torch.tensor([[3.0, 0.0], [0.0, 0.5]]))) == pytest.approx(-math.log(2) / 2, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_koleo_of_duplicates_is_finite_and_so_is_its_gradient(dtype: torch.dtype) -> None:
    x = torch.ones(4, 3, dtype=dtype, requires_grad=True)
    loss = koleo(x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_koleo_of_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 image"):
        koleo(logits(1, 3))


@pytest.mark.parametrize(("negatives", "across"), [*product(["keep", "clamp", "clamp_anchor"], [False, True])])
def test_gram_is_the_mean_squared_difference_of_similarities(negatives: str, across: bool) -> None:
    x, anchor = logits(2, 4, 3), logits(2, 4, 3, seed=1)
    agree(gram, oracles.gram, x, anchor, negatives=negatives, across_batch=across)


@pytest.mark.parametrize(
    ("negatives", "student", "anchor", "expected"),
    [
        ("keep", -0.4, -0.2, 0.04),
        ("clamp", -0.4, -0.2, 0.0),
        ("clamp_anchor", -0.4, -0.2, 0.0),
        ("clamp_anchor", 0.4, -0.2, 0.16),
        ("clamp_anchor", -0.4, 0.2, 0.36),
        ("clamp", -0.4, 0.2, 0.04),
    ],
)
def test_gram_treats_negative_similarities_as_asked(
    negatives: str, student: float, anchor: float, expected: float
) -> None:
    """Two patches whose cosine is given; the diagonal agrees, the two other entries cost `expected` each."""

    def patches(cosine: float) -> Tensor:
        return torch.tensor([[[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]]], dtype=torch.float64)

    loss = gram(patches(student), patches(anchor), negatives=negatives)
    assert float(loss) == pytest.approx(expected / 2, abs=1e-12)


def test_gram_of_identical_patches_is_zero_whatever_their_length() -> None:
    x = logits(2, 5, 3)
    assert float(gram(x, 7 * x)) == pytest.approx(0, abs=1e-20)


def test_gram_names_its_choices() -> None:
    with pytest.raises(ValueError, match="expected keep, clamp or clamp_anchor"):
        gram(logits(1, 2, 3), logits(1, 2, 3), negatives="drop")


TERMS: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_view": lambda x: cross_view(x, probabilities(2, 4, 5).to(x.dtype)),
    "masked_patch": lambda x: masked_patch(x[0], probabilities(4, 5).to(x.dtype), MASKS),
    "koleo": lambda x: koleo(x[0]),
    "gram": lambda x: gram(x, logits(3, 4, 5, seed=3).to(x.dtype)),
}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_terms_compute_in_at_least_single_precision(term: str, dtype: torch.dtype) -> None:
    """In half precision, under autocast too, only the inputs are rounded."""
    x = logits(3, 4, 5).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = TERMS[term](x)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-2 if dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(loss.double(), TERMS[term](x.double()), rtol=tolerance, atol=tolerance)
