"""Solutions of 02_objective_by_hand.py, written by `python -m notebooks build` from that file: edit them there."""

from torch.nn.functional import log_softmax
import torch


def targets_of(logits, centre, temperature):
    """Probabilities over the last axis of `logits` (... K): centred by `centre` (K), sharpened by `temperature`."""
    return ((logits - centre) / temperature).softmax(dim=-1)


def teachers_side(logits, centre, temperature=0.04, momentum=0.9):
    """Logits (T B K) and centre (K) → targets (T B K) of this step, and the centre (K) of the next."""
    targets = ((logits - centre) / temperature).softmax(dim=-1)
    return targets, momentum * centre + (1 - momentum) * logits.mean(dim=(0, 1))


def objective(student, teacher, centre, student_temperature=0.1, teacher_temperature=0.04):
    """Student scores (S B K), teacher scores (T B K), centre (K) → the loss in nats.

    The first T student views are the views the teacher saw; a view does not predict itself."""
    targets = ((teacher - centre) / teacher_temperature).softmax(dim=-1)
    log_p = log_softmax(student / student_temperature, dim=-1)
    pairs = -torch.einsum("sbk,tbk->st", log_p, targets) / student.shape[1]
    different = torch.ones_like(pairs).fill_diagonal_(0)
    return (pairs * different).sum() / different.sum()
