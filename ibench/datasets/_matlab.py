"""MATLAB files of data sets: variables of v5 files by scipy, and of v7.3 files, which are HDF5, by h5py."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
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
MOST_BYTES = 64 << 20
MOST_LETTERS = 4096
MOST_NUMBERS = 3 * 178_956_970
"""Of one entry of an array: Pillow's limit of pixels, in three colours."""

# The last is scipy's own slip, for a class of matrix that there is not.
_DAMAGED = (
    MatReadError, ValueError, TypeError, LookupError, MemoryError, struct.error, zlib.error, UnboundLocalError,
)  # fmt: skip
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED, _LAST_TYPE = 14, 15, 18
_DEEPEST = 8


def v5_list(file: Path, name: str) -> list[Any]:
    """A vector of numbers, or a cell array of strings, as a flat list; see `v5_array`."""
    return [
        cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell
        for cell in v5_array(file, name).ravel().tolist()
    ]


def v5_array(file: Path, name: str) -> NDArray[Any]:
    """A variable of a MATLAB file of version 5 to 7: of numbers, or of objects for cells and the fields of structs.

    Nothing is run: scipy makes arrays of it. Raises IbenchError for a file that is absent, damaged or of another
    version, that lacks the variable, that claims more than a million entries, or has more than 64 MiB, unpacked or
    not.
    """
    try:
        data = _well_formed(file)
        shapes = {variable: shape for variable, shape, _ in whosmat(io.BytesIO(data))}
        if name not in shapes:
            raise IbenchError(f"{file}: no variable '{name}'; it has {', '.join(shapes) or 'none'}")
        if math.prod(shapes[name]) > MOST_ENTRIES:
            raise IbenchError(f"{file}: '{name}' claims {shapes[name]} entries, the limit is {MOST_ENTRIES:,}")
        values: NDArray[Any] = loadmat(io.BytesIO(data), variable_names=[name])[name]
        return values
    except OSError as error:
        raise IbenchError(f"{file}: cannot be read ({error.strerror or error})") from error
    except _DAMAGED as error:
        raise IbenchError(f"{file}: cannot be read as a MATLAB file ({error}); fetch it again") from error


def _well_formed(file: Path) -> bytes:
    """The bytes of a v5 file, every type code of it known: scipy trusts them, and ends the process with another.

    Layout: "MAT-File Format", The MathWorks. Raises IbenchError for another version, ValueError for a damaged file.
    """
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise IbenchError(f"{file}: more than {MOST_BYTES:,} bytes, which no list of a data set needs")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER_BYTES])
    if order is None:
        raise ValueError("no header")
    (version,) = struct.unpack_from(f"{order}H", data, 124)
    if version >> 8 != 1:
        raise IbenchError(f"{file}: is of another version than MATLAB's 5 to 7; fetch the publisher's file")
    _refuse_unknown_types(memoryview(data)[_HEADER_BYTES:], order, depth=0)
    return data


def _refuse_unknown_types(data: memoryview, order: str, depth: int) -> None:
    """Walk the elements: a tag of type and size, or both in half of it for up to 4 bytes; padded to 8 bytes."""
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    at = 0
    while at < len(data):
        code, size = struct.unpack_from(f"{order}II", data, at)
        start, small = at + 8, code >> 16
        if small:
            code, size, start = code & 0xFFFF, small, at + 4
        end = start + size
        if not 1 <= code <= _LAST_TYPE or end > len(data) or (small and small > 4):
            raise ValueError(f"type {code} of {size} bytes")
        if code == _MATRIX:
            _refuse_unknown_types(data[start:end], order, depth + 1)
        elif code == _COMPRESSED:
            inflater = zlib.decompressobj()
            inflated = inflater.decompress(data[start:end], MOST_BYTES)
            if not inflater.eof:
                raise ValueError(f"ends within compressed data, or has more than {MOST_BYTES:,} bytes")
            _refuse_unknown_types(memoryview(inflated), order, depth + 1)
        at = end if code == _COMPRESSED else end + -end % 8


@contextmanager
def hdf5(file: Path) -> Iterator[h5py.File]:
    """A v7.3 file, open for reading. Raises IbenchError for one that is absent, damaged or no HDF5.

    It is not locked where the file system has no locks, as network file systems often do not.
    """
    try:
        with h5py.File(file, "r", locking="best-effort") as opened:
            yield opened
    except FileNotFoundError as error:
        raise IbenchError(f"{file}: not found") from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError) as error:
        raise IbenchError(f"{file}: cannot be read as a MATLAB 7.3 (HDF5) file ({error}); fetch it again") from error


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


def strings(file: h5py.File, name: str, positions: Sequence[int]) -> list[str]:
    """Some of a cell array of strings, which is a reference for each to the codes of its characters (uint16)."""
    cells = array(file, name)
    if h5py.check_ref_dtype(cells.dtype) is not h5py.Reference or cells.size > MOST_ENTRIES:
        raise IbenchError(f"{file.filename}: '{name}' is {cells.dtype} of shape {cells.shape}, no list of strings")
    references = cells[()].ravel()
    return [_string(file, references[position], name) for position in positions]


def _string(file: h5py.File, reference: h5py.Reference, name: str) -> str:
    codes = _own(file, file[reference], name)
    if codes.dtype != np.uint16 or codes.size > MOST_LETTERS:
        raise IbenchError(f"{file.filename}: '{name}' holds {codes.dtype} of shape {codes.shape}, no string")
    return "".join(map(chr, codes[()].ravel().tolist()))


def page(stack: h5py.Dataset, number: int) -> NDArray[Any]:
    """One entry of the first axis; only that is read.

    MATLAB's order of axes is the reverse: what is (H, W, N) there is (N, W, H) here. Raises UnreadableSample for an
    entry that is damaged, or has more numbers than the largest image that Pillow opens.
    """
    where = f"{Path(stack.file.filename).name}{stack.name} {number + 1}"
    if math.prod(stack.shape[1:]) > MOST_NUMBERS:
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
