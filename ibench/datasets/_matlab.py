"""MATLAB files of data sets: variables of v5 files by scipy, and of v7.3 files, which are HDF5, by h5py."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from ibench.errors import IbenchError, UnreadableSample

MOST_ENTRIES = 1_000_000
MOST_NUMBERS = 3 * 178_956_970
"""Of one entry of an array: Pillow's limit of pixels, in three colours."""


def v5_list(file: Path, name: str) -> list[Any]:
    """A vector of numbers, or a cell array of strings, of a MATLAB file up to version 7, as a flat list.

    Nothing is run: scipy makes arrays of it. Raises IbenchError for a file that is absent, damaged or of version 7.3,
    that lacks the variable, or that claims more than a million entries.
    """
    try:
        shapes = {variable: shape for variable, shape, _ in whosmat(file)}
        if name not in shapes:
            raise IbenchError(f"{file}: no variable '{name}'; it has {', '.join(shapes) or 'none'}")
        if np.prod(shapes[name], dtype=object) > MOST_ENTRIES:
            raise IbenchError(f"{file}: '{name}' claims {shapes[name]} entries, the limit is {MOST_ENTRIES:,}")
        values = loadmat(file, variable_names=[name])[name]
    except FileNotFoundError as error:
        raise IbenchError(f"{file}: not found") from error
    except NotImplementedError as error:
        raise IbenchError(f"{file}: is of MATLAB version 7.3; expected the older format of the publisher") from error
    except (MatReadError, OSError, ValueError, TypeError, KeyError, IndexError, zlib.error) as error:
        raise IbenchError(f"{file}: cannot be read as a MATLAB file ({error}); fetch it again") from error
    return [
        cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in values.ravel().tolist()
    ]


@contextmanager
def hdf5(file: Path) -> Iterator[h5py.File]:
    """A v7.3 file, open for reading. Raises IbenchError for one that is absent, damaged or no HDF5.

    It is not locked where the file system has no locks, as network file systems often do not.
    """
    try:
        opened = h5py.File(file, "r", locking="best-effort")
    except FileNotFoundError as error:
        raise IbenchError(f"{file}: not found") from error
    except OSError as error:
        raise IbenchError(f"{file}: cannot be read as a MATLAB 7.3 (HDF5) file ({error}); fetch it again") from error
    with opened:
        yield opened


def array(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of the file's top level, nothing read yet. Raises IbenchError for one that is absent or elsewhere.

    HDF5 can link to other files and keep an array's bytes in them; a data set that does is refused.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise IbenchError(f"{file.filename}: no variable '{name}'; it has {', '.join(sorted(file)) or 'none'}")
    if not isinstance(link, h5py.HardLink):
        raise IbenchError(f"{file.filename}: '{name}' is a link; its data must lie in the file itself")
    return _own(file, file[name], name)


def strings(file: h5py.File, name: str) -> list[str]:
    """A cell array of strings: a reference for each, to the codes of its characters (uint16)."""
    return [
        "".join(map(chr, _own(file, file[reference], name)[()].ravel().tolist()))
        for reference in array(file, name)[()].ravel()
    ]


def page(stack: h5py.Dataset, number: int) -> NDArray[Any]:
    """One entry of the first axis; only that is read.

    MATLAB's order of axes is the reverse: what is (H, W, N) there is (N, W, H) here. Raises UnreadableSample for an
    entry that is damaged, or has more numbers than the largest image that Pillow opens.
    """
    where = f"{Path(stack.file.filename).name}{stack.name} {number + 1}"
    if np.prod(stack.shape[1:], dtype=object) > MOST_NUMBERS:
        raise UnreadableSample(f"{where}: claims {stack.shape[1:]} numbers, the limit is {MOST_NUMBERS:,}")
    try:
        entry: NDArray[Any] = stack[number]
    except (OSError, RuntimeError) as error:
        raise UnreadableSample(f"{where}: {error}") from error
    return entry


def _own(file: h5py.File, found: Any, name: str) -> h5py.Dataset:
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise IbenchError(f"{file.filename}: '{name}' is no array in the file itself")
    return found
