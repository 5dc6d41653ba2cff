"""What the trainer and the evaluations log beside the monitors: titles, units, directions, meanings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from dino_core.rundir.schema import Metric

ENGINE = {
    "loss": Metric("Loss", "nats", None, "Cross-entropy of the student under the teacher's targets: entropy plus KL."),
    "loss/*": Metric("Loss term", "nats", None, "One term of the loss, before its weight."),
    "loss/dino": Metric(
        "DINO loss", "nats", None, "Mean cross-entropy between views under the teacher's targets, local ones reweighted."
    ),
    "loss/dino_global": Metric("DINO loss, global crops", "nats", None, "Between global crops, before any weight."),
    "loss/dino_local": Metric("DINO loss, local crops", "nats", None, "From local to global crops, before any weight."),
    "loss/ibot": Metric(
        "iBOT loss", "nats", None, "Cross-entropy on hidden patches, summed over masked crops, over the number of all."
    ),
    "loss/koleo": Metric(
        "KoLeo", "nats", "lower", "Minus the log distance of class tokens to their nearest, summed over global crops."
    ),
    "loss/gram": Metric(
        "Gram loss", "squared cosine", "lower", "Mean squared difference of patch similarities from the anchor's."
    ),
    "loss_weight/*": Metric("Weight", "factor", None, "What a term of the loss is multiplied by at this step."),
    "loss_weight/dino_local": Metric(
        "Weight, local crops", "factor", None, "What pairs with a local crop are multiplied by within the DINO loss."
    ),
    "lr": Metric("Learning rate", "per step", None, "Size of the optimizer's steps."),
    "weight_decay": Metric("Weight decay", "per step", None, "Pull of the weights towards 0, per learning rate."),
    "momentum": Metric("Teacher momentum", "share", None, "How much of the old teacher stays at each step."),
    "teacher_temperature": Metric(
        "Teacher temperature", "temperature", None, "Divides the teacher's logits; lower makes its targets sharper."
    ),
    "images_per_second": Metric("Images per second", "images/s", "higher", "Images trained on per second, all ranks."),
    "time/data": Metric("Time: data", "ms", "lower", "Waiting for decoded images, mean per step since the last line."),
    "time/augment": Metric("Time: augmentation", "ms", "lower", "Cutting and distorting the crops, mean per step."),
    "time/teacher": Metric("Time: teacher", "ms", "lower", "The teacher's forward pass and targets, mean per step."),
    "time/student": Metric("Time: student", "ms", "lower", "The student's forward pass and loss, mean per step."),
    "time/backward": Metric("Time: backward", "ms", "lower", "The gradients, mean per step."),
    "time/update": Metric("Time: update", "ms", "lower", "Optimizer, teacher and centre, mean per step."),
    "time/others": Metric("Time: other students", "ms", None, "Waiting for students that learn beside this one, mean per step."),
    "time/telemetry": Metric("Time: telemetry", "ms", "lower", "Monitors and logging, mean per step."),
    "memory": Metric("Memory", "MiB", "lower", "Largest memory so far: of the GPU, or of the process on a CPU."),
    "skipped_steps": Metric("Skipped steps", "steps", "lower", "Steps left out so far: a number was not finite."),
    "loss_scale": Metric("Loss scale", "factor", None, "What fp16 gradients are multiplied by so as not to vanish."),
    "knn/teacher": Metric(
        "k-NN accuracy, teacher", "share", "higher", "Test images whose neighbours vote for their label, teacher."
    ),
    "knn/student": Metric(
        "k-NN accuracy, student", "share", "higher", "Test images whose neighbours vote for their label, student."
    ),
    "jaccard/best_head": Metric(
        "Attention on the object, best head", "share", "higher",
        "Jaccard of the patches holding 60 % of the attention and the object, the one head that does best over all images.",
    ),
    "jaccard/heads_together": Metric(
        "Attention on the object, heads together", "share", "higher",
        "Jaccard of the patches holding 60 % of the mean attention of all heads and the object.",
    ),
    "jaccard/*": Metric(
        "Attention on the object", "share", "higher",
        "Jaccard of the patches holding 60 % of a head's attention and the object.",
    ),
    "pca_iou": Metric(
        "Object in the first component", "share", "higher",
        "Overlap of the object with the patches on one side of the first principal component.",
    ),
}  # fmt: skip


def first_sentence(function: Callable[..., Any]) -> str:
    """The first sentence of a docstring, formula left out, on one line."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return re.split(r"(?<!et al)\. ", text)[0].rstrip(".") + "."
