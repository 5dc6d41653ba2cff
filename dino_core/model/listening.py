"""What happens inside a module while this thread runs it: other threads may run the same module (`dino_core.model.abreast`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def listening(modules: Iterable[nn.Module], take: Callable[[Any, Any, Any], Tensor]) -> Iterator[list[Tensor]]:
    """A list that gets `take(module, inputs, output)` each time this thread has called one of the modules."""
    thread, heard = threading.get_ident(), list[Tensor]()

    def listen(module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            heard.append(take(module, inputs, output))

    hooks = [module.register_forward_hook(listen) for module in modules]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
