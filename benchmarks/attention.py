"""Attention by PyTorch's fused kernel and in plain products, forward and backward, in float32 and bf16 on the CPU.

`dino_core.model.unfused` chooses from this."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.report import goal

SIZES = ((32, 3, 65), (64, 3, 17), (8, 6, 197))
"""Images, heads, tokens; 64 features a head."""


def measure(quick: bool) -> dict[str, Any]:
    import torch
    import torch.nn.functional as F

    from dino_core.model.unfused import in_products

    torch.set_num_threads(1)
    ways = {"fused": F.scaled_dot_product_attention, "in products": in_products}
    found: dict[str, dict[str, float]] = {}
    for images, heads, tokens in ((2, 2, 5),) if quick else SIZES:
        for dtype in (torch.float32, torch.bfloat16):
            q, k, v = (torch.randn(images, heads, tokens, 64, dtype=dtype, requires_grad=True) for _ in range(3))
            upstream = torch.randn(images, heads, tokens, 64, dtype=dtype)
            took: dict[str, float] = dict.fromkeys(ways, float("inf"))
            for _ in range(2 if quick else 12):  # in turns
                for name, attend in ways.items():
                    began = time.perf_counter()
                    torch.autograd.grad(attend(q, k, v), (q, k, v), upstream)
                    took[name] = min(took[name], time.perf_counter() - began)
            found[f"{images} x {heads} x {tokens}, {str(dtype).removeprefix('torch.')}"] = took
    slowest = min(t["fused"] / t["in products"] for name, t in found.items() if "bfloat16" in name)
    return {
        "seconds": found,
        "goals": [goal("in bf16, fused takes as long as products × (the least)", slowest, at_least=1.0)],
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    return [["images x heads x tokens", "fused, ms", "in products, ms", "fused / products"]] + [
        [name, f"{1e3 * t['fused']:.2f}", f"{1e3 * t['in products']:.2f}", f"{t['fused'] / t['in products']:.2f}"]
        for name, t in result["seconds"].items()
    ]
