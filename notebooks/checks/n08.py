"""08 Gram anchoring: matrices of cosines, their difference, and an anchor at twice the size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity, normalize, smooth_l1_loss

from dino_core.objective.terms import gram
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 80))


def matrix(x: Tensor) -> Tensor:
    return normalize(x, dim=-1) @ normalize(x, dim=-1).mT


def across(x: Tensor, axis: int = 1) -> Tensor:
    """With each feature scaled over patches (or images) instead of each patch over features."""
    return normalize(x, dim=axis) @ normalize(x, dim=axis).mT


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
        Mistake("half of it: only one side is scaled to length one; both have to be.",
                lambda x: normalize(x, dim=-1) @ x.T, half_finished=True),
        Mistake("half of it: only the right side is scaled to length one; both have to be.",
                lambda x: x @ normalize(x, dim=-1).T, half_finished=True),
        Mistake("you multiplied number by number; a product of matrices, @, gives all pairs.",
                lambda x: normalize(x, dim=-1) * normalize(x, dim=-1)),
        Mistake("you divided by the squared length of the first patch; it is divided by the lengths of both.",
                lambda x: x @ x.T / x.square().sum(1)[:, None]),
        Mistake("these are distances, 0 for a patch with itself; cosines are asked for.",
                lambda x: torch.cdist(normalize(x, dim=-1), normalize(x, dim=-1))),
        Mistake("these are angles; their cosines are asked for.", lambda x: matrix(x).clamp(-1, 1).arccos()),
        Mistake("you divided by the sum of absolute values (p=1); a length is the root of the sum of squares.",
                lambda x: normalize(x, p=1, dim=-1) @ normalize(x, p=1, dim=-1).T),
        Mistake("you divided by the *squared* length; that does not make it one.",
                lambda x: (x / x.square().sum(1, keepdim=True)) @ (x / x.square().sum(1, keepdim=True)).T),
        Mistake("you divided by the deviation of a patch's features; its length is the root of the sum of squares.",
                lambda x: (x / x.std(1, keepdim=True)) @ (x / x.std(1, keepdim=True)).T),
        Mistake("you divided by the longest patch's length; each has its own.",
                lambda x: (x / x.norm(dim=1).max()) @ (x / x.norm(dim=1).max()).T),
        Mistake("you divided by the number of features too; cosines need no mean.", lambda x: matrix(x) / x.shape[1]),
    ],
    symptoms=[Symptom("each patch is like itself: the diagonal must be 1.",
                      lambda m, *_: not torch.allclose(m.diagonal(), torch.ones(len(m)), atol=1e-4))],
    kind=Tensor,
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
        Mistake("you took the mean before the square, so that differences cancel: square first.",
                lambda s, a: (matrix(s) - matrix(a)).mean().square()),
        Mistake("you summed over images; the loss is the mean over them.", lambda s, a: gram(s, a) * len(s)),
        Mistake("you scaled the anchor's patches only; the student's have to have length one, too.",
                lambda s, a: (s @ s.mT - matrix(a)).square().mean()),
        Mistake("you scaled the student's patches only; the anchor's have to have length one, too.",
                lambda s, a: (matrix(s) - a @ a.mT).square().mean()),
        Mistake("you took the difference of the squares; the square is of the difference.",
                lambda s, a: (matrix(s).square() - matrix(a).square()).mean()),
        Mistake("you added the two matrices; their difference has to become small.",
                lambda s, a: (matrix(s) + matrix(a)).square().mean()),
        Mistake("you multiplied the matrices number by number; the loss is their squared difference.",
                lambda s, a: (matrix(s) * matrix(a)).mean()),
        Mistake("you averaged the matrices over images first; each image is compared with itself, and then the mean.",
                lambda s, a: (matrix(s).mean(0) - matrix(a).mean(0)).square().mean()),
        Mistake("you scaled over images (dim=0); a patch is scaled to length one over its features, dim=-1.",
                lambda s, a: (across(s, 0) - across(a, 0)).square().mean()),
        Mistake("you divided by the length of the whole batch; each patch has a length of its own.",
                lambda s, a: ((s / s.norm()) @ (s / s.norm()).mT - (a / a.norm()) @ (a / a.norm()).mT).square().mean()),
        Mistake("smooth L1 (Huber) halves small squares; the square itself is asked for.",
                lambda s, a: smooth_l1_loss(matrix(s), matrix(a))),
        Mistake("this is half of it, as ½ (x - y)² has it; the mean square without a half is asked for, over both "
                "triangles.",
                lambda s, a: gram(s, a) / 2),
        Mistake("this is the cosine between the matrices; the mean squared difference is asked for.",
                lambda s, a: cosine_similarity(matrix(s).flatten(1), matrix(a).flatten(1)).mean()),
        Mistake("you took the largest squared difference; the mean is asked for.",
                lambda s, a: (matrix(s) - matrix(a)).square().max()),
        Mistake("this is a variance, which takes the mean difference away; the mean square is asked for.",
                lambda s, a: (matrix(s) - matrix(a)).var()),
        Mistake("you subtracted the mean patch of each image before; the cosines are of patches as they are.",
                lambda s, a: gram(s - s.mean(1, keepdim=True), a - a.mean(1, keepdim=True))),
        Mistake("you compared the first image only; the loss is the mean over all.", lambda s, a: gram(s[:1], a[:1])),
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
        Mistake("you averaged in one direction only, over two patches of a row; a block is 2 x 2.",
                lambda p, g: p.view(2 * g[0], g[1], 2, -1).mean(2).flatten(0, 1)),
        Mistake("you averaged in one direction only, over two rows; a block is 2 x 2.",
                lambda p, g: p.view(g[0], 2, 2 * g[1], -1).mean(1).flatten(0, 1)),
        Mistake("the upper and lower rows of a block are averaged; its left and right columns are still to be.",
                lambda p, g: p.view(g[0], 2, g[1], 2, -1).mean(1).flatten(0, 1)),
        Mistake("you averaged over the blocks and kept the places inside them: dim=(1, 3), the two axes of length 2.",
                lambda p, g: p.view(g[0], 2, g[1], 2, -1).mean((0, 2)).flatten(0, 1)),
        Mistake("you averaged over features too; each feature keeps its own mean.", lambda p, g: pooled(p, g).mean(-1)),
        Mistake("you took the median of the four; asked is their mean.",
                lambda p, g: p.view(g[0], 2, g[1], 2, -1).transpose(1, 2).flatten(2, 3).median(2).values.flatten(0, 1)),
        Mistake("you took the smallest of the four; asked is their mean.",
                lambda p, g: p.view(g[0], 2, g[1], 2, -1).amin((1, 3)).flatten(0, 1)),
        Mistake("you took the first quarter of the list: that is the upper part of the picture.",
                lambda p, g: p[: len(p) // 4]),
        Mistake("you averaged patches that are a quarter of the picture apart; four that lie together make a block.",
                lambda p, g: torch.stack(p.chunk(4)).mean(0)),
        Mistake("you took two of the four, on the diagonal of the block; all four count.",
                lambda p, g: sum(p.view(2 * g[0], 2 * g[1], -1)[i::2, i::2] for i in (0, 1)).flatten(0, 1) / 2),
        Mistake("you took every second row and column, the odd ones: that throws three quarters of the anchor away.",
                lambda p, g: p.view(2 * g[0], 2 * g[1], -1)[1::2, 1::2].flatten(0, 1)),
        Mistake("`grid` is (r, c) already, the student's; you halved it again.",
                lambda p, g: p.view(max(1, g[0] // 2), 2, max(1, g[1] // 2), 2, -1).mean((1, 3)).flatten(0, 1)),
        Mistake("your windows overlap (stride 1); blocks lie side by side: stride 2.",
                lambda p, g: avg_pool2d(p.T.reshape(1, -1, 2 * g[0], 2 * g[1]), 2, 1)[0].flatten(1).T),
    ],
    symptoms=[Symptom("there must be a quarter as many patches as before.",
                      lambda found, patches, grid: len(found) != len(patches) // 4)],
    hints=["Section 5 does it for one feature on a 4 x 4 grid.",
           "`patches.view(r, 2, c, 2, D)` puts each block on axes of its own.",
           "patches.view(rows, 2, columns, 2, -1).mean(dim=(1, 3)).flatten(0, 1)"],
    minutes=10,
)  # fmt: skip
