"""How widely the class token looks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure.attention import head_entropy
from dino_core.telemetry.monitors import monitor


@monitor("attention/entropy", unit="nats", title="Attention entropy", heavy=True, parts=("", "*"))
def attention_entropy(teacher_attention: Float[Tensor, "I H N"]) -> dict[str, Float[Tensor, ""]]:
    """How widely the class token's attention is spread over patches in the last layer, from 0 (one patch) to ln N.

    The mean over heads, and each head."""
    heads = head_entropy(teacher_attention)
    return {"": heads.mean()} | {f"head_{i}": head for i, head in enumerate(heads)}
