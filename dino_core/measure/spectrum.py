"""How many directions do the features use?  No single number is safe, so there are three, and they disagree usefully:
RankMe notices full collapse, alpha-ReQ the shape of the decay, LiDAR whether directions tell images rather than crops
apart.

Axes: N rows (images or patches), D features, V views, B images.  All are computed in float64 from the smaller of the
two Gram matrices, (N N) or (D D), in O(N D min(N, D)): some 5 times faster than singular values."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dino_core.precision import fp64


def singular_values(x: Float[Tensor, "N D"], centred: bool = False) -> Float[Tensor, " R"]:
    """The R = min(N, D) singular values of x, largest first; of x minus its mean row if `centred`."""
    x = fp64(x)
    if centred:
        x = x - x.mean(0)
    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    return _eigenvalues(gram).sqrt().flip(0)


def rankme(x: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Effective number of directions: the paper's RankMe.

        p_k = sigma_k / sum_j sigma_j + 1e-7,    RankMe = exp(-sum_k p_k log p_k)     from 1 to min(N, D)

    sigma are singular values, not their squares, of the features as they are, not centred (Garrido et al. 2023, arXiv
    2210.02885, Sec. 3): centred features would call total collapse perfect.  It is bounded by N and grows with it, so
    compare runs at the same N; and it misses prototype collapse, where features keep their rank."""
    return _exponential_of_entropy(singular_values(x))


def alpha_req(x: Float[Tensor, "N D"], first: int = 3, last: int | None = None) -> Float[Tensor, ""]:
    """Decay of the spectrum: minus the slope of log eigenvalue against log rank, by least squares.

        lambda_i ~ i^-alpha      for the ranks from `first` to `last`, counted from 1

    lambda are the eigenvalues of the centred covariance.  About 1 is best, far below is noise, far above is collapse to
    few directions (Agrawal et al. 2022, "alpha-ReQ").  `last` is by default half of min(N - 1, D) and at most 100:
    beyond that the sample, not the network, makes the decay."""
    values = singular_values(x, centred=True).square()
    last = last or min(100, (min(x.shape[0] - 1, x.shape[1]) + 1) // 2)
    first = min(first, max(1, last - 1))
    rank = torch.arange(first, last + 1, device=values.device, dtype=values.dtype).log()
    decay = values[first - 1 : last].clamp_min(1e-300).log()
    rank = rank - rank.mean()
    return -(rank * decay).sum() / rank.square().sum().clamp_min(1e-300)


def lidar(views: Float[Tensor, "V B D"], regularisation: float = 1e-4) -> Float[Tensor, ""]:
    """Effective number of directions that tell images apart more than crops of one image: LiDAR.

        W^-1/2 B W^-1/2,     B: covariance of the images' mean features,   W: mean covariance within images + 1e-4 I

    and of its eigenvalues the exponential of the entropy, as in RankMe (eps 1e-8); from 1 to min(D, B - 1) (Thilak et
    al. 2023, arXiv 2312.04000).  The rows of `views` at one image index must be views of that image.  W has rank
    (V - 1) B at most; directions beyond that are held by the regularisation alone."""
    x = fp64(views)
    means = x.mean(0)  # B D
    within = (x - means).flatten(0, 1)
    dim, images = x.shape[2], x.shape[1]
    eye = torch.eye(dim, dtype=x.dtype, device=x.device)
    factor, _ = torch.linalg.cholesky_ex(within.T @ within / (images * max(1, x.shape[0] - 1)) + regularisation * eye)
    between = (means - means.mean(0)) / max(1, images - 1) ** 0.5
    whitened = torch.linalg.solve_triangular(factor, between.T, upper=False)  # D B
    gram = whitened.T @ whitened if images < dim else whitened @ whitened.T
    return _exponential_of_entropy(_eigenvalues(gram), epsilon=1e-8)


def _eigenvalues(gram: Float[Tensor, "R R"]) -> Float[Tensor, " R"]:
    """Of a positive matrix, smallest first; NaN, not an exception, where it is not finite."""
    finite = gram.isfinite().all()
    values = torch.linalg.eigvalsh(torch.where(finite, gram, 0.0)).clamp_min(0)
    return torch.where(finite, values, torch.nan)


def _exponential_of_entropy(values: Float[Tensor, " R"], epsilon: float = 1e-7) -> Float[Tensor, ""]:
    p = values / values.sum().clamp_min(1e-300) + epsilon
    return torch.exp(-(p * p.log()).sum())
