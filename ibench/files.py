"""Files that are whole or absent, whoever else writes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ibench.errors import IbenchError

WAY_OUT = "make room there or name another place"


def write_whole(path: Path, data: str | bytes, *, replace: bool = True, way_out: str = WAY_OUT) -> None:
    """Write a file that all may read, and the folders above it where there are none.

    Killed at any moment, it is whole or as it was; written by several processes at once, it is one of theirs; unless
    ``replace``, one that is there already stays. Raises IbenchError, with ``way_out``, where it cannot be written: no
    room, no right, no folder.
    """
    make_folder(path.parent, way_out)
    with refusals_told(path.parent, way_out):
        # a name of its own for each writer: with one for all, one would rename what another has not finished
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            _put(temporary, path, replace)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(path.parent)


def make_folder(folder: Path, way_out: str = WAY_OUT) -> None:
    """Make a folder unless it is there. Raises IbenchError where that cannot be."""
    with refusals_told(folder, way_out):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def refusals_told(place: Path, way_out: str = WAY_OUT) -> Iterator[None]:
    """Raises IbenchError for an OSError within: a full disk, a quota, a folder not ours are for the user to mend."""
    try:
        yield
    except OSError as error:
        raise IbenchError(f"cannot write to {place}: {error.strerror}; {way_out}") from error


def _put(temporary: str, path: Path, replace: bool) -> None:
    if replace:
        os.replace(temporary, path)
        return
    with suppress(FileExistsError):
        os.link(temporary, path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
