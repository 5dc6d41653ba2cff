"""The student of a checkpoint that can be resumed from, without opening a pickle that could run anything.

What resuming needs is torch's own format: an index that is a pickle, and files of tensors (`torch.save`).  `dcp.load` would
run whatever the index names; here the index may name nothing but the few plain records it is made of, tensors are opened with
`weights_only=True`, and a file is only looked for beside the index.  Imports torch."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from dino_core.errors import CheckpointError
from dino_core.model import Network, load_teacher

LARGEST = 64 * 2**20
"""Bytes of an index beyond which it is refused."""
RECORDS: dict[tuple[str, str], Any] = {
    **{
        ("torch.distributed.checkpoint.metadata", kind.__name__): kind
        for kind in (
            metadata.Metadata, metadata.MetadataIndex, metadata.TensorStorageMetadata, metadata.BytesStorageMetadata,
            metadata.TensorProperties, metadata.ChunkStorageMetadata, metadata.StorageMeta, metadata._MEM_FORMAT_ENCODING,
        )
    },
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): filesystem._StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): lambda name: getattr(torch, str(name).removeprefix("torch."), None),
    **{
        (module, f"{system}Path"): lambda *parts: "/".join(map(str, parts))
        for module in ("pathlib", "pathlib._local")
        for system in ("Posix", "Windows", "PurePosix", "")
    },
}  # fmt: skip
"""What an index may name.  Where the run was written is only a text here."""


class _Records(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = RECORDS.get((module, name))
        if known is not None:
            return known
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise CheckpointError(
            f"its index names {module}.{name}, which no checkpoint of DINO lab does; it was not opened."
        )


def load_student(folder: Path) -> Network | None:
    """The student of a checkpoint folder, frozen and in eval mode; None where only the teacher was kept.

    Raises `CheckpointError` for an index or tensors that are damaged or are not what they should be."""
    if not (folder / "state" / ".metadata").is_file():
        return None
    network = load_teacher(folder)
    try:
        network.load_state_dict(
            {k.removeprefix("student."): v for k, v in tensors(folder / "state", "student.").items()}
        )
    except (CheckpointError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"the student in {folder / 'state'} can't be read: {error}") from error
    return network


def tensors(state: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors of a sharded state whose names begin so, put together from their chunks, in float32."""
    index = _index(state / ".metadata")
    found = {
        name: torch.zeros(tuple(about.size))
        for name, about in index.state_dict_metadata.items()
        if name.startswith(prefix) and isinstance(about, metadata.TensorStorageMetadata)
    }
    for where, stored in index.storage_data.items():
        if where.fqn in found:
            chunk = _chunk(state, stored)
            start = tuple(where.offset) if where.offset is not None else (0,) * chunk.dim()
            place = tuple(slice(a, a + n) for a, n in zip(start, chunk.shape, strict=True))
            found[where.fqn][place].copy_(chunk)
    return found


def _index(file: Path) -> Any:
    if file.stat().st_size > LARGEST:
        raise CheckpointError(f"its index has {file.stat().st_size >> 20} MiB; expected a few.")
    try:
        index = _Records(io.BytesIO(file.read_bytes())).load()
    except (pickle.UnpicklingError, IndexError, ImportError) as error:
        raise CheckpointError(f"its index is damaged: {error}") from error
    if not isinstance(index, metadata.Metadata) or not isinstance(index.storage_data, dict):
        raise CheckpointError("its index does not say where tensors are.")
    return index


def _chunk(state: Path, stored: Any) -> Tensor:
    file = state / str(stored.relative_path)
    if file.resolve().parent != state.resolve() or file.is_symlink():
        raise CheckpointError(f"its index names {str(stored.relative_path)[:60]!r}, which is not beside it.")
    with open(file, "rb") as stream:
        stream.seek(int(stored.offset))
        content = stream.read(int(stored.length))
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError("one of its files holds something else than tensors; it was not opened.") from error
    if not isinstance(loaded, Tensor):
        raise CheckpointError("one of its tensors is none.")
    return loaded
