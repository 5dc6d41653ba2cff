"""How many directions the features use.  Rows are capped, so that the cost does not grow with the batch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure import spectrum
from dino_core.telemetry.monitors import monitor

ROWS = 512
"""Class tokens or patches whose spectrum is taken; RankMe can't be larger than this."""
IMAGES = 128
"""Images that LiDAR compares."""


@monitor("features/rankme", unit="dimensions", better="higher", title="RankMe, class tokens", heavy=True, gather=True)
def rankme(teacher_cls: Float[Tensor, "T B D"]) -> Float[Tensor, ""]:
    """Effective number of directions of the class tokens (uncentred singular values, Garrido et al. 2023)."""
    return spectrum.rankme(_rows(teacher_cls.flatten(0, 1)))


@monitor("features/alpha_req", unit="exponent", title="Spectral decay, class tokens", heavy=True, gather=True)
def alpha_req(teacher_cls: Float[Tensor, "T B D"]) -> Float[Tensor, ""]:
    """How fast the spectrum of the class tokens falls with rank; about 1 is best (α-ReQ, Agrawal et al. 2022)."""
    return spectrum.alpha_req(_rows(teacher_cls.flatten(0, 1)))


@monitor("features/lidar", unit="dimensions", better="higher", title="LiDAR, class tokens", heavy=True, gather=True)
def lidar(student_cls: Float[Tensor, "S B D"]) -> Float[Tensor, ""]:
    """Effective number of directions that tell images apart more than crops of one image (Thilak et al. 2023)."""
    return spectrum.lidar(student_cls[:, :IMAGES])


@monitor("patches/rankme", unit="dimensions", better="higher", title="RankMe, patches", heavy=True, gather=True)
def patch_rankme(some_patches: Float[Tensor, "I N D"]) -> Float[Tensor, ""]:
    """Effective number of directions of the patch tokens (uncentred singular values, Garrido et al. 2023)."""
    return spectrum.rankme(_rows(some_patches.flatten(0, 1)))


@monitor("patches/alpha_req", unit="exponent", title="Spectral decay, patches", heavy=True, gather=True)
def patch_alpha_req(some_patches: Float[Tensor, "I N D"]) -> Float[Tensor, ""]:
    """How fast the spectrum of the patch tokens falls with rank; about 1 is best (α-ReQ, Agrawal et al. 2022)."""
    return spectrum.alpha_req(_rows(some_patches.flatten(0, 1)))


def _rows(x: Float[Tensor, "N D"]) -> Float[Tensor, "M D"]:
    """At most ROWS rows, evenly taken."""
    return x[:: -(-len(x) // ROWS)]
