"""Arrays in, arrays out: what the lab's pictures are computed from.  NumPy only.

Axes: I images, H heads, N patches, D features, C components; `*I` is any number of leading axes, none included.
The browser derives the same maps from the same arrays (`lab/static/maps.js`); a test holds the two together."""

from lab.analysis import artifacts, attention, baselines, curves, examples, gram, matching, pca, rollout, similarity

__all__ = [
    "artifacts",
    "attention",
    "baselines",
    "curves",
    "examples",
    "gram",
    "matching",
    "pca",
    "rollout",
    "similarity",
]
