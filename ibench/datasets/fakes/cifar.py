"""CIFAR in little: two pictures of noise for each class, in pickles as Python 2 wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ibench.tasks import TaskSpec

_TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE = ("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "lawn_mower", "maple_tree", "pickup_truck", "worm")
_COARSE = ("fish", "fruit_and_vegetables", "large_carnivores", "people", "vehicles_1")
_PICTURES = 2

Plain = str | int | Sequence["Plain"] | NDArray[np.uint8]


def write(spec: TaskSpec, place: Path) -> None:
    """``test_batch`` and ``batches.meta`` of CIFAR-10, or ``test`` and ``meta`` of CIFAR-100, by the task's column."""
    rng = np.random.default_rng(0)
    fine = spec.dataset.columns.get("label", "labels") != "labels"
    names = _FINE if fine else _TEN
    labels = [int(label) for label in rng.permutation(np.repeat(np.arange(len(names)), _PICTURES))]
    batch: dict[str, Plain] = {
        "batch_label": "testing batch 1 of 1",
        "filenames": [f"{names[label]}_s_{row:06d}.png" for row, label in enumerate(labels)],
        "data": rng.integers(0, 256, (len(labels), 3072)).astype(np.uint8),
    }
    if fine:
        coarse = [label * len(_COARSE) // len(_FINE) for label in labels]
        _pickle(place / "test", batch | {"fine_labels": labels, "coarse_labels": coarse})
        _pickle(place / "meta", {"fine_label_names": _FINE, "coarse_label_names": _COARSE})
    else:
        _pickle(place / "test_batch", batch | {"labels": labels})
        _pickle(place / "batches.meta", {"num_cases_per_batch": 10000, "label_names": _TEN, "num_vis": 3072})


def _pickle(path: Path, value: dict[str, Plain]) -> None:
    """Protocol 2 with the 8-bit strings of Python 2, which Python 3's pickle reads and does not write."""
    entries = b"".join(_pickled(key) + _pickled(part) for key, part in value.items())
    path.write_bytes(b"\x80\x02}(" + entries + b"u.")


def _pickled(value: Plain) -> bytes:
    if isinstance(value, str):
        return _string(value.encode())
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, np.ndarray):
        return _array(value)
    return b"](" + b"".join(map(_pickled, value)) + b"e"


def _string(data: bytes) -> bytes:
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + len(data).to_bytes(4, "little") + data


def _array(pixels: NDArray[np.uint8]) -> bytes:
    """As numpy 1 pickled it: an empty array, then its state: version, shape, type, order, bytes."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _string(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + _string(b"u1") + b"K\x00K\x01tR"
    kind += b"(K\x03" + _string(b"|") + b"NNN" + 2 * _pickled(-1) + b"K\x00tb"
    shape = b"(" + b"".join(map(_pickled, pixels.shape)) + b"t"
    return empty + b"(K\x01" + shape + kind + b"\x89" + _string(pixels.tobytes()) + b"tb"
