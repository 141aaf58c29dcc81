"""The weights of a folder, whole or in shards, as transformers and open_clip keep them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ibench.encoders.source import Source, read_json
from ibench.encoders.weights import read_weights
from ibench.errors import IbenchError

WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which transformers looks for them."""

_READ_BESIDE = (".json", ".txt", ".model")


def weight_files(folder: Path, names: Sequence[str] = WEIGHT_NAMES) -> list[Path]:
    """The first file of ``names`` that is there, or the shards that its index lists.

    Raises IbenchError when there is none, and for an index that lists a file that is missing or outside the folder.
    """
    for name in names:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    raise IbenchError(f"{folder}: has no weights: none of {', '.join(names)}, and no index of shards")


def read_folder(folder: Path, names: Sequence[str] = WEIGHT_NAMES) -> dict[str, Tensor]:
    """The state dict of a folder, on the CPU. Raises IbenchError as `weight_files` and `read_weights` do."""
    return {key: tensor for file in weight_files(folder, names) for key, tensor in read_weights(file).items()}


def files_read(source: Source, names: Sequence[str] = WEIGHT_NAMES) -> list[Path]:
    """The folder's files that make the encoder: configs, vocabularies and the weights that are read."""
    beside = [path for path in source.folder_files if path.parent == source.path and path.suffix in _READ_BESIDE]
    return sorted(beside + weight_files(source.path, names))


def _shards(index: Path) -> list[Path]:
    placed = read_json(index)
    placed = placed.get("weight_map") if isinstance(placed, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(name, str) for name in placed.values()):
        raise IbenchError(f"{index}: has no weight_map of keys to files")
    names = sorted(set(placed.values()))
    outside = [name for name in names if name != Path(name).name]
    if outside:
        raise IbenchError(f"{index}: lists '{outside[0]}', which is not a file of this folder; ibench does not read it")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise IbenchError(
            f"{index}: lists {len(names)} files, {len(missing)} are not there, first {missing[0]}; download them again"
        )
    return [index.parent / name for name in names]
