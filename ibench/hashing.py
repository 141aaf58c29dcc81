"""Content hashes: canonical JSON, and files streamed once and remembered while they do not change."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ibench.errors import IbenchError
from ibench.files import make_folder
from ibench.resources import CACHE_WAY_OUT, cache_dir

_BLOCK = 1 << 20
_FILES_AT_ONCE = 256  # between two writes of the memo: a run that is stopped hashes no more than these again


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, no NaN. The identity of anything made of plain data."""
    return sha256_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def sha256_lines(lines: Iterable[str]) -> str:
    """SHA-256 of strings in order; each is preceded by its length, so that no two lists share one digest."""
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def file_digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's bytes, in order.

    A digest is remembered under path, size, inode and both times (the change time cannot be set by a program, so
    a file replaced under the same name is read again). Raises OSError for a file that cannot be read, and IbenchError
    where nothing can be remembered.
    """
    digests: list[str] = []
    for start in range(0, len(paths), _FILES_AT_ONCE):
        some = paths[start : start + _FILES_AT_ONCE]
        digests += _remembered([(_stamp(path), partial(_stream, path)) for path in some])
    return digests


def memoised(key: str, compute: Callable[[], str]) -> str:
    """``compute()``, remembered under ``key`` across processes; the key must name content, not a place.

    Raises IbenchError where nothing can be remembered.
    """
    return _remembered([(key, compute)])[0]


@contextmanager
def _memo() -> Iterator[sqlite3.Connection]:
    """The table of what is remembered. Raises IbenchError where it cannot be made, read or written to."""
    path = cache_dir() / "digests.sqlite"
    make_folder(path.parent, CACHE_WAY_OUT)
    try:
        with closing(sqlite3.connect(path, timeout=60)) as memo:
            memo.execute("CREATE TABLE IF NOT EXISTS digests (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            yield memo
    except sqlite3.Error as error:
        raise IbenchError(f"{path}: {error}; {CACHE_WAY_OUT}") from error


def _remembered(asked: Sequence[tuple[str, Callable[[], str]]]) -> list[str]:
    """The value of each key, computed where it is not remembered.

    Nothing is computed while the memo is written to: other processes wait for that, and files are large.
    """
    with _memo() as memo:
        rows = [memo.execute("SELECT value FROM digests WHERE key = ?", (key,)).fetchone() for key, _ in asked]
        made = {key: compute() for (key, compute), row in zip(asked, rows, strict=True) if row is None}
        memo.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?)", made.items())
        memo.commit()
    return [made[key] if row is None else str(row[0]) for (key, _), row in zip(asked, rows, strict=True)]


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{path.absolute()}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def _stream(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
