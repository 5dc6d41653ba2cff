"""Numbers from tensors: pure functions that monitors, evaluations and notebooks share."""
