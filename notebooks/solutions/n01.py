"""Solutions of 01_two_networks.py, written by `python -m notebooks build` from that file: edit them there."""


def crop_sides(height, width, share, ratio):
    """A crop with this `share` of the area of a height × width image and this `ratio` of width to height → (tall, wide)."""
    area = share * height * width
    return round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)


def follow(teacher, student, momentum):
    """Weights of both by name → the teacher's weights after the step."""
    return {name: momentum * teacher[name] + (1 - momentum) * student[name] for name in teacher}


def momentum_of(half_life):
    """The EMA momentum with which the teacher has gone half of the way after `half_life` steps."""
    return 0.5 ** (1 / half_life)
