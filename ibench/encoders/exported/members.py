"""The members of a torch.export archive: a zip of JSON and of tensors as bare bytes, which is all that is read of it.

Sample inputs, which are pickles, and compiled libraries lie in it as well and are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch
from torch import Tensor

from ibench.encoders.exported.layout import DTYPES, STRIDED, Payload, Payloads, Refusal, Size, read_json

MOST_JSON = 256 * 2**20
"""Bytes. The graph of a tower of 48 blocks, stack traces and all, takes a few million."""
MOST_AXES = 16


@dataclass(frozen=True)
class Members:
    """Members by their path in the archive's own folder."""

    archive: ZipFile
    infos: Mapping[str, ZipInfo]

    def text(self, path: str) -> bytes:
        """A member of at most MOST_JSON bytes. Raises Refusal for one that is larger, or is not there."""
        if self.size(path) > MOST_JSON:
            raise Refusal(f"its member '{path}' has {self.size(path)} bytes, more than {MOST_JSON}")
        return self.archive.read(self.infos[path])

    def storage(self, path: str) -> Tensor:
        """A member as uint8 [bytes], in memory of its own."""
        if not self.size(path):
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(bytearray(self.archive.read(self.infos[path])), dtype=torch.uint8)

    def size(self, path: str) -> int:
        if path not in self.infos:
            raise Refusal(f"lacks '{path:.80}'; ibench reads archives as torch.export.save of torch 2.12 writes them")
        return self.infos[path].file_size


@contextmanager
def opened(file: Path) -> Iterator[Members]:
    """Raises Refusal for a file that is no whole archive of torch.export, or was packed anew."""
    try:
        with ZipFile(file) as archive:
            yield Members(archive, _checked(archive.infolist(), file.stat().st_size))
    except (OSError, BadZipFile, EOFError) as error:
        raise Refusal(f"not a whole torch.export archive ({error}); copy or export it again") from error


def model_name(members: Members) -> str:
    """The one graph in the archive. Raises Refusal for one with none, with several, or of an unknown format."""
    for path, known in {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}.items():
        said = members.text(path)
        if said != known:
            raise Refusal(f"its {path} is {said[:40]!r}, and ibench reads {known.decode()}")
    names = [path[len("models/") : -len(".json")] for path in members.infos if path.startswith("models/")]
    if len(names) != 1:
        held = f"{len(names)} graphs" if names else "compiled code and no graph"
        raise Refusal(f"holds {held}; ibench opens what torch.export.save writes, one graph with its weights")
    return names[0]


def read_tensors(members: Members, folder: str, config: str) -> dict[str, Tensor]:
    """Tensors of ``data/weights`` or ``data/constants``, by their names in the module, on the CPU.

    Those that share a member share memory. Raises Refusal for tensors that their member cannot hold, before memory is
    taken for them, and for those that are kept as pickles.
    """
    storages: dict[str, Tensor] = {}
    tensors = {}
    for name, payload in read_json(members.text(f"{folder}/{config}"), Payloads).config.items():
        path = f"{folder}/{payload.path_name}"
        dtype, shape, strides, offset = _described(name, payload, members.size(path))
        if path not in storages:
            storages[path] = members.storage(path)
        held = storages[path].view(dtype)
        tensors[name] = held.as_strided(shape, strides, offset) if prod(shape) else held.new_empty(shape)
    return tensors


def _checked(infos: list[ZipInfo], size: int) -> dict[str, ZipInfo]:
    """The members by path, when they can all lie in the file, side by side and as they are."""
    root = next((info.filename[: -len("archive_format")] for info in infos if _is_format(info.filename)), None)
    if root is None:
        raise Refusal("not an archive of torch.export as torch 2.12 writes it; export it again with that")
    packed = next((info for info in infos if info.compress_type != ZIP_STORED or info.flag_bits & 1), None)
    if packed:
        raise Refusal(
            f"its member '{packed.filename:.80}' is compressed or encrypted; torch.export.save leaves them plain"
        )
    if sum(info.file_size for info in infos) > size:
        raise Refusal(f"its members claim more bytes than the file has ({size})")
    return {info.filename.removeprefix(root): info for info in infos if info.filename.startswith(root)}


def _is_format(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/archive_format")


def _described(name: str, payload: Payload, size: int) -> tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]:
    """dtype, shape, strides and offset (in elements) of a weight that lies within a member of ``size`` bytes."""
    meta = payload.tensor_meta
    if payload.use_pickle or meta is None:
        raise Refusal(
            f"keeps '{name:.80}' as a pickle, which ibench does not read; export plain tensors (no subclass, no object)"
        )
    dtype = DTYPES.get(meta.dtype)
    if dtype is None or meta.layout != STRIDED:
        raise Refusal(f"'{name:.80}' is of dtype {meta.dtype}, layout {meta.layout}, which ibench does not read")
    shape, strides, (offset,) = _numbers(meta.sizes), _numbers(meta.strides), _numbers([meta.storage_offset])
    elements, rest = divmod(size, dtype.itemsize)
    reach = offset + sum((extent - 1) * step for extent, step in zip(shape, strides, strict=False)) + 1
    told = f"'{name:.80}' {list(shape)} of {str(dtype).removeprefix('torch.')}"
    if len(shape) != len(strides) or rest or prod(max(extent, 1) for extent in shape) >= 2**48:
        raise Refusal(f"{told} does not fit its {size} bytes")
    if prod(shape) and (reach > elements or prod(shape) > elements):
        raise Refusal(f"{told} needs more than its {size} bytes")
    return dtype, shape, strides, offset


def _numbers(sizes: list[Size]) -> tuple[int, ...]:
    numbers = tuple(-1 if size.as_int is None else size.as_int for size in sizes)
    if len(numbers) > MOST_AXES or not all(0 <= number < 2**48 for number in numbers):
        raise Refusal(f"describes a weight with {len(numbers)} sizes, {list(numbers[:MOST_AXES])}")
    return numbers
