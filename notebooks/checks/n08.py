"""08 Gram anchoring: matrices of cosines, their difference, and an anchor at twice the size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from dino_core.objective.terms import gram
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 80))


def matrix(x: Tensor) -> Tensor:
    return normalize(x, dim=-1) @ normalize(x, dim=-1).mT


def across(x: Tensor) -> Tensor:
    """With each feature scaled over patches instead of each patch over features."""
    return normalize(x, dim=1) @ normalize(x, dim=1).mT


gram_matrix = Exercise(
    "08.1",
    cases=lambda seed: [(drawn(seed, 4, 3),), (3 * drawn(seed + 1, 5, 7),)],
    right=lambda x: torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1),
    mistakes=[
        Mistake("half of it: these are the patches, scaled to length one. Multiply them with themselves.",
                lambda x: normalize(x, dim=-1), half_finished=True),
        Mistake("you did not scale the patches to length one: these are dot products, and long patches rule them.",
                lambda x: x @ x.T),
        Mistake("you multiplied the wrong way round: that is a matrix of features (D D), asked is one of patches (N N).",
                lambda x: normalize(x, dim=-1).T @ normalize(x, dim=-1)),
        Mistake("you normalised each feature over patches (dim=0); a patch is a row, dim=-1.",
                lambda x: normalize(x, dim=0) @ normalize(x, dim=0).T),
        Mistake("you divided by the length of the whole matrix; each patch has a length of its own.",
                lambda x: (x / x.norm()) @ (x / x.norm()).T),
        Mistake("you subtracted the mean: these are correlations over features, asked are cosines.",
                lambda x: matrix(x - x.mean(-1, keepdim=True))),
    ],
    symptoms=[Symptom("each patch is like itself: the diagonal must be 1.",
                      lambda m, *_: not torch.allclose(m.diagonal(), torch.ones(len(m)), atol=1e-4))],
    hints=["Length one first, then all dot products at once.", "`normalize(patches, dim=-1)`, and a product with the transpose.",
           "unit = normalize(patches, dim=-1); unit @ unit.T"],
)  # fmt: skip

gram_loss = Exercise(
    "08.2",
    cases=lambda seed: [(drawn(seed, 2, 5, 3), drawn(seed + 1, 2, 5, 4)), (drawn(seed + 2, 3, 4, 6), drawn(seed + 3, 3, 4, 6))],
    right=lambda s, a: gram(s, a),
    mistakes=[
        Mistake("half of it: this is the difference of the matrices. Square it, and take the mean.",
                lambda s, a: matrix(s) - matrix(a), half_finished=True),
        Mistake("half of it: these are the squared differences. Take their mean.",
                lambda s, a: (matrix(s) - matrix(a)).square(), half_finished=True),
        Mistake("you summed the squares, as the paper writes it; here the mean is asked for, so that N does not matter.",
                lambda s, a: (matrix(s) - matrix(a)).square().sum()),
        Mistake("you summed over pairs and took the mean over images only.",
                lambda s, a: (matrix(s) - matrix(a)).square().sum((1, 2)).mean()),
        Mistake("you took the absolute difference instead of its square.", lambda s, a: (matrix(s) - matrix(a)).abs().mean()),
        Mistake("you forgot to scale the patches to length one.", lambda s, a: (s @ s.mT - a @ a.mT).square().mean()),
        Mistake("you compared patches of different images too; the loss is per image.", lambda s, a: gram(s, a, across_batch=True)),
        Mistake("this is the root of the mean square; asked is the mean square.",
                lambda s, a: (matrix(s) - matrix(a)).square().mean().sqrt()),
        Mistake("you clamped negative cosines to 0: an option of the released code (`negatives`), not asked for here.",
                lambda s, a: gram(s, a, negatives="clamp")),
        Mistake("you normalised each feature over patches (dim=1); a patch is scaled to length one, dim=-1.",
                lambda s, a: (across(s) - across(a)).square().mean()),
        Mistake("you left the diagonal out of the mean. It is 0 in both, and counts.",
                lambda s, a: gram(s, a) * s.shape[1] / (s.shape[1] - 1)),
        Mistake("this is the norm of the difference, the root of a sum of squares; asked is the mean square.",
                lambda s, a: (matrix(s) - matrix(a)).norm(dim=(1, 2)).mean()),
        Mistake("you divided by the images and by N once; the mean is over N x N pairs.", lambda s, a: gram(s, a) * s.shape[1]),
    ],
    symptoms=[Symptom("the loss is one number; your result has axes left over.", lambda loss, *_: loss.ndim > 0)],
    hints=["08.1 for each side, with `.mT` instead of `.T` because there is a batch.",
           "The two matrices have the same shape whatever D and E.",
           "(ours @ ours.mT - theirs @ theirs.mT).square().mean()"],
    minutes=10,
    praise="right: this is dino_core.objective.terms.gram.",
)  # fmt: skip


def pooled(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """By convolution's average, written apart from the solution."""
    rows, columns = grid
    picture = patches.T.reshape(1, -1, 2 * rows, 2 * columns)
    return avg_pool2d(picture, 2)[0].flatten(1).T


averaged_down = Exercise(
    "08.3",
    cases=lambda seed: [(drawn(seed, 24, 2), (2, 3)), (drawn(seed + 1, 16, 3), (2, 2))],
    right=pooled,
    mistakes=[
        Mistake("half of it: the means are right, but still on a grid (r c D). Flatten rows and columns into one axis.",
                lambda p, g: pooled(p, g).view(*g, -1), half_finished=True),
        Mistake("you averaged four patches that follow each other in the list: those lie in one row, not in a 2 x 2 block.",
                lambda p, g: p.view(-1, 4, p.shape[-1]).mean(1)),
        Mistake("you took every second row and column: that throws three quarters of the anchor away.",
                lambda p, g: p.view(2 * g[0], 2 * g[1], -1)[::2, ::2].flatten(0, 1)),
        Mistake("rows and columns are exchanged in your result: patches are listed row by row.",
                lambda p, g: pooled(p, g).view(*g, -1).transpose(0, 1).flatten(0, 1)),
        Mistake("you summed the four patches; asked is their mean.", lambda p, g: 4 * pooled(p, g)),
        Mistake("you took the largest of the four; asked is their mean.",
                lambda p, g: p.view(g[0], 2, g[1], 2, -1).amax((1, 3)).flatten(0, 1)),
        Mistake("your view puts the halves of the grid on axes of their own, not the blocks: (r, 2, c, 2, D), and the mean over "
                "the two axes of 2.",
                lambda p, g: p.view(2, g[0], 2, g[1], -1).mean((0, 2)).flatten(0, 1)),
        Mistake("rows and columns are exchanged: grid is (rows, columns).",
                lambda p, g: p.view(g[1], 2, g[0], 2, -1).mean((1, 3)).flatten(0, 1)),
        Mistake("you took every fourth patch of the list: a mean of four that lie together is asked for.", lambda p, g: p[::4]),
    ],
    symptoms=[Symptom("there must be a quarter as many patches as before.",
                      lambda found, patches, grid: len(found) != len(patches) // 4)],
    hints=["Section 5 does it for one feature on a 4 x 4 grid.",
           "`patches.view(r, 2, c, 2, D)` puts each block on axes of its own.",
           "patches.view(rows, 2, columns, 2, -1).mean(dim=(1, 3)).flatten(0, 1)"],
    minutes=10,
)  # fmt: skip
