"""Solutions of 09_distillation.py, written by `python -m notebooks build` from that file: edit them there."""

from torch.nn.functional import log_softmax


def distilled(student, teacher, student_temperature=0.1, teacher_temperature=0.07):
    """Scores (B K) of both -> the mean cross-entropy over images, in nats; the teacher's side is a constant (no gradient)."""
    targets = (teacher / teacher_temperature).softmax(dim=-1).detach()
    return -(targets * log_softmax(student / student_temperature, dim=-1)).sum(dim=-1).mean()


def saving(teacher, students):
    """Seconds of the teacher's pass, and a list of seconds of each student's own part -> how many times longer one after the other takes."""
    return (len(students) * teacher + sum(students)) / (teacher + sum(students))


def matching_size(teacher_size, teacher_patch, student_stride):
    """Pixels of the teacher's crop, its patch and the student's stride -> pixels at which the student's grid is the teacher's."""
    return teacher_size // teacher_patch * student_stride
