"""Solutions of 03_collapse.py, written by `python -m notebooks build` from that file: edit them there."""

from dino_core.measure.collapse import entropy
import numpy as np


def informed(targets):
    """Targets (B K), rows summing to 1 → H of the mean minus the mean H, in nats.  0 ln 0 counts as 0."""
    return entropy(targets.mean(dim=0)) - entropy(targets).mean()


def diagnose(mean_entropy, entropy_of_mean, prototypes):
    """Two entropies in nats and the number of prototypes → "healthy", "one prototype", "uniform" or "constant"."""
    whole = np.log(prototypes)
    if entropy_of_mean - mean_entropy >= 0.02 * whole:
        return "healthy"
    if mean_entropy < 0.02 * whole:
        return "one prototype"
    return "uniform" if mean_entropy > 0.98 * whole else "constant"


def sabotage():
    """Options of the simulator, as a dictionary."""
    return {"centre_momentum": 0.999}  # the centre is always too late
