"""Pickles of plain data and arrays of bytes, read without importing or calling anything that they name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ibench.errors import IbenchError


class _Dtype:
    """Stands for ``numpy.dtype``: only its code is kept."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, _: object) -> None: ...


class _Array:
    """Stands for an array under construction; the state that follows it in the pickle fills it."""

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.code != "u1" or fortran:
            raise pickle.UnpicklingError(f"an array of {dtype.code}; expected bytes (u1) in rows")
        data = data.encode("latin1") if isinstance(data, str) else data
        self.values = np.frombuffer(data, np.uint8).reshape(shape)


def _encoded(text: str, encoding: str) -> bytes:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes in protocol 2."""
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
}


# the C unpickler allocates what a file of twenty bytes claims to need; this one grows with what it has read
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and pickles may run code")
        return _STAND_INS[module, name]


def read_plain_pickle(file: Path, most_bytes: int) -> dict[str, Any]:
    """A pickled dict of text, numbers, lists and uint8 arrays, from Python 2 or 3.

    Keys and texts are ``str``, also where Python 3 has pickled them as bytes again (`encoding="bytes"`).

    Raises IbenchError for a file larger than ``most_bytes``, that is absent or damaged, holds something else than
    a dict, or names anything but what numpy's arrays of bytes need; stand-ins take the place of those.
    """
    try:
        if file.stat().st_size > most_bytes:
            raise IbenchError(f"{file}: larger than {most_bytes >> 20} MB, which it should not be")
        data = file.read_bytes()
    except OSError as error:
        raise IbenchError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        value = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle makes an unpickler raise anything
        raise IbenchError(
            f"{file}: no pickle of plain data, or not whole ({str(error) or type(error).__name__})"
        ) from error
    if not isinstance(value, dict):
        raise IbenchError(f"{file}: expected a pickled dict, found {type(value).__name__}")
    return {str(_as_text(key)): _plain(part) for key, part in value.items()}


def _plain(part: Any) -> Any:
    if isinstance(part, _Array):
        return part.values
    return [_as_text(one) for one in part] if isinstance(part, list) else _as_text(part)


def _as_text(one: Any) -> Any:
    return one.decode("latin1") if isinstance(one, bytes) else one
