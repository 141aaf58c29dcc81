"""CIFAR-10 and CIFAR-100 as their author publishes them for Python: 10,000 test pictures of 32 × 32 in a pickle.

Source: cs.toronto.edu/~kriz/cifar.html. ``cifar-10-batches-py/{test_batch, batches.meta}`` with ``labels`` and
``label_names``; ``cifar-100-python/{test, meta}`` with ``fine_labels``, ``coarse_labels`` and ``fine_label_names``,
``coarse_label_names``. ``data`` is uint8 [n, 3072]: the red, green and blue planes, row by row.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ibench.datasets._plain_pickle import read_plain_pickle
from ibench.datasets.base import Dataset, Item
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec

MARKER = ("batches.meta", "meta")
_MOST_BYTES = 64 << 20  # the test files have 31 MB


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The test pictures in the order of the file, with the labels of the column ``label`` (default ``labels``).

    The ids are the rows. Raises IbenchError when a file is absent, is no pickle of plain data, or its parts do not fit
    together.
    """
    batch, meta = (root / name for name in (("test_batch", "batches.meta") if _is_ten(root) else ("test", "meta")))
    column = spec.dataset.columns.get("label", "labels")
    names, labels = _list(meta, column.removesuffix("s") + "_names"), _list(batch, column)
    pixels = _pixels(batch)
    numbers = [one for one in labels if isinstance(one, int) and 0 <= one < len(names)]
    if not len(numbers) == len(labels) == len(pixels):
        raise IbenchError(
            f"{batch}: '{column}' needs, for each of {len(pixels)} pictures, one of {len(names)} classes by number"
        )
    items = [
        Item(
            id=f"row-{row:07d}",
            decode=partial(_picture, batch, row),
            content=hashlib.sha256(pixels[row].tobytes()).hexdigest(),
            labels=(str(names[number]),),
            group=f"row-{row:07d}",
        )
        for row, number in enumerate(numbers)
    ]
    return Dataset({spec.query: items}, labels={str(name): (str(name),) for name in names}, copy=f"{root.name} pickles")


def _is_ten(root: Path) -> bool:
    return (root / "batches.meta").exists()


def _list(file: Path, key: str) -> list[object]:
    found = read_plain_pickle(file, _MOST_BYTES).get(key)
    if not isinstance(found, list) or not found:
        raise IbenchError(f"{file}: no list '{key}' in it; is it the Python version of the data set?")
    return found


@cache
def _pixels(batch: Path) -> NDArray[np.uint8]:
    """uint8 [n, 3, 32, 32], read once in each process: 31 MB, less than the pickle takes to open again."""
    data = read_plain_pickle(batch, _MOST_BYTES).get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        raise IbenchError(f"{batch}: 'data' is not an array of n × 3072 bytes")
    return data.reshape(-1, 3, 32, 32)


def _picture(batch: Path, row: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(_pixels(batch)[row].transpose(1, 2, 0)))
