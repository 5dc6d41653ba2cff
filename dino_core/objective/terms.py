"""The terms of the papers' losses: pure, differentiable functions of tensors, without state.

Axes: S student views, T teacher views, B images, K prototypes, D features, N patches, V global crops, M masked patches.
Any float dtype; computed in at least single precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dino_core.precision import at_least_fp32, without_autocast


@without_autocast
def cross_view(
    student: Float[Tensor, "S B K"],
    targets: Float[Tensor, "T B K"],
    temperature: float = 0.1,
    skip_same_view: bool = True,
    local_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Each student view predicts what the teacher says about the other views of the same image.

        L = -1/(P B) sum_{(s,t)} sum_b <target_tb, log softmax(student_sb / temperature)>    (Caron et al. 2021, Eq. 3)

    over P pairs: all of them, but those of a view with itself when `skip_same_view`; the first T student views are the
    views the teacher saw.  All pairs weigh the same (18 with 2 global and 8 local crops).  `student` are logits,
    `targets` probabilities.  In nats.  `local_weight` multiplies the pairs of views that the teacher did not see; P stays
    (DINOv3).  Raises `ValueError` if no pair is left."""
    return mean_pair(view_pairs(student, targets, temperature), skip_same_view, local_weight)


@without_autocast
def view_pairs(
    student: Float[Tensor, "S B K"], targets: Float[Tensor, "T B K"], temperature: float = 0.1
) -> Float[Tensor, "S T"]:
    """The mean cross-entropy over images of each student view under each teacher view; in nats."""
    log_p = F.log_softmax(at_least_fp32(student) / temperature, dim=-1)
    return -torch.einsum("sbk,tbk->st", log_p, at_least_fp32(targets).to(log_p.dtype)) / student.shape[1]


def mean_pair(pairs: Float[Tensor, "S T"], skip_same_view: bool = True, local_weight: float = 1.0) -> Float[Tensor, ""]:
    """The mean over pairs of views that `cross_view` speaks of."""
    weights = torch.ones_like(pairs)
    weights[pairs.shape[1] :] = local_weight
    if skip_same_view:
        weights.fill_diagonal_(0)
    count = pairs.numel() - (min(pairs.shape) if skip_same_view else 0)
    if count == 0:
        raise ValueError(
            f"{pairs.shape[0]} student and {pairs.shape[1]} teacher views leave no pair of different views; add a crop."
        )
    return (pairs * weights).sum() / count


@without_autocast
def masked_patch(
    student: Float[Tensor, "M K"],
    targets: Float[Tensor, "M K"],
    masks: Bool[Tensor, "V N"],
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """The student predicts what the teacher says about patches that were hidden from the student.

        L = -1/V sum_v 1/n_v sum_{p masked in v} <target_vp, log softmax(student_vp / temperature)>

    (iBOT, Zhou et al. 2022).  n_v is the number of masked patches of crop v; crops without any count in V all the same,
    as in the released DINOv2 code.  `student` (logits) and `targets` (probabilities) list the masked patches in the
    order of `masks`.  In nats."""
    if masks.device.type == "cpu" and int(masks.sum()) != len(student):  # elsewhere asking would stall the device
        raise ValueError(f"{len(student)} patches for masks that hide {int(masks.sum())}; expected one row each.")
    log_p = F.log_softmax(at_least_fp32(student) / temperature, dim=-1)
    each = -torch.einsum("mk,mk->m", log_p, at_least_fp32(targets).to(log_p.dtype))
    hidden = masks.sum(1)
    weight = torch.repeat_interleave(1 / hidden.to(each.dtype), hidden, output_size=len(student))
    return (each * weight).sum() / len(masks)


@without_autocast
def koleo(
    cls: Float[Tensor, "B D"],
    eps: float = 1e-8,
    *,
    neighbours: int = 1,
    among: Float[Tensor, "P D"] | None = None,
    first: int = 0,
) -> Float[Tensor, ""]:
    """Spread the class tokens: minus the log distance to the nearest neighbour.

        L = -1/B sum_i log(min_{j != i} ||x_i - x_j|| + eps)      (Sablayrolles et al. 2019; DINOv2, Sec. 4)

    on the unit sphere, `cls` being normalised here.  Neighbours are searched in `cls` itself, each rank's own images as in
    the released DINOv2 code, or `among` other rows, those from `first` on being `cls` (all ranks' images, DINOv3).  With
    more `neighbours` the mean of their terms counts.  Gradients flow to both ends.  Finite, with a finite gradient, for
    duplicates.  Raises `ValueError` for fewer than two rows, or no more than there are neighbours."""
    pool = cls if among is None else among
    if len(pool) < 2:
        raise ValueError(f"KoLeo measures distances to neighbours; got {len(pool)} image. Use larger batches.")
    if not 0 < neighbours < len(pool):
        raise ValueError(f"{neighbours} neighbours among {len(pool)} images; expected 1 to {len(pool) - 1}.")
    x = F.normalize(at_least_fp32(cls), dim=-1, eps=eps)
    y = x if among is None else F.normalize(at_least_fp32(among), dim=-1, eps=eps)
    with torch.no_grad():
        likeness = x @ y.T
        likeness.diagonal(first).fill_(-torch.inf)  # own
        nearest = likeness.topk(neighbours, dim=1).indices  # B k
    distance = torch.linalg.vector_norm(x[:, None] - y[nearest], dim=-1)
    return -torch.log(distance + eps).mean()


@without_autocast
def gram(
    student: Float[Tensor, "B N D"],
    anchor: Float[Tensor, "B N E"],
    negatives: str = "keep",
    across_batch: bool = False,
) -> Float[Tensor, ""]:
    """Keep the similarities between patches that an earlier teacher had.

        L = mean (X_S X_Sᵀ - X_A X_Aᵀ)²      (DINOv3, Sec. 4.2)

    over the pairs of patches of an image, or of all B·N patches when `across_batch` ((B N)² memory); rows of X are
    patches of unit length, the anchor's perhaps of another number of features.  `negatives` says what becomes of negative
    similarities: `keep` them; `clamp` both sides to 0; `clamp_anchor`: the anchor's count as 0, and the student's too
    where both are negative (what the released code means to do, but doesn't: it clamps the anchor before looking)."""
    if negatives not in ("keep", "clamp", "clamp_anchor"):
        raise ValueError(f"negatives is {negatives!r}; expected keep, clamp or clamp_anchor.")
    ours, theirs = (_similarities(at_least_fp32(x), across_batch) for x in (student, anchor))
    if negatives == "clamp":
        ours, theirs = ours.clamp(min=0), theirs.clamp(min=0)
    elif negatives == "clamp_anchor":
        ours, theirs = ours.masked_fill((ours < 0) & (theirs < 0), 0), theirs.clamp(min=0)
    return (ours - theirs).square().mean()


def _similarities(patches: Float[Tensor, "B N D"], across_batch: bool) -> Float[Tensor, "G Q Q"]:
    x = F.normalize(patches, dim=-1)
    x = x.flatten(0, 1).unsqueeze(0) if across_batch else x
    return x @ x.mT
