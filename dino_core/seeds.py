"""All randomness of a run follows from (seed, purpose, step): nothing about it has to be saved to resume bit for bit."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*what: int | str) -> int:
    """A 63-bit seed that differs whenever any part differs."""
    digest = hashlib.blake2b("/".join(map(str, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*what: int | str) -> torch.Generator:
    """A CPU generator for one purpose at one step."""
    return torch.Generator().manual_seed(seed_of(*what))
