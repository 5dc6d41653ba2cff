"""In how many directions the features of the probe images spread, at the clock's step."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lab.run import Network, Probe
from lab.views.figures import figure

MARKED = 64
"""Directions up to which each has a marker; of more they would lie on one another."""


@figure(
    page="monitor",
    place=45,
    title="Spectrum of the features",
    shows="The share of the variance of the probe images' features along each principal direction, largest first.",
    look="A healthy spectrum falls slowly; one that drops like a cliff has lost dimensions, whatever the loss says.",
)
def spectrum(probe: Probe, *, tokens: Literal["cls", "patches"] = "patches", network: Network = "teacher") -> Any:
    """Eigenvalues of the covariance over their sum."""
    import plotly.graph_objects as go

    features = probe.read(f"{network}.{tokens}").astype(np.float64)
    flat = features.reshape(-1, features.shape[-1])
    variance = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    share = variance / max(variance.sum(), 1e-300)
    drawn = go.Figure(
        go.Scatter(
            x=np.arange(1, len(share) + 1),
            y=share,
            mode="lines+markers" if len(share) <= MARKED else "lines",
            line_color="#0072b2",
            name=network,
        )
    )
    drawn.update_xaxes(title="principal direction (rank)")
    drawn.update_yaxes(title="share of the variance", type="log", exponentformat="power")
    return drawn
