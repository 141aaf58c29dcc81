"""Content hashes: canonical JSON, and files streamed once and remembered while they do not change."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ibench.resources import cache_dir

_BLOCK = 1 << 20


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
    a file replaced under the same name is read again). Raises OSError for a file that cannot be read.
    """
    with closing(_memo()) as memo:
        digests = [_memoised(memo, _stamp(path), lambda path=path: _stream(path)) for path in paths]  # type: ignore[misc]
        memo.commit()
    return digests


def memoised(key: str, compute: Callable[[], str]) -> str:
    """``compute()``, remembered under ``key`` across processes; the key must name content, not a place."""
    with closing(_memo()) as memo:
        value = _memoised(memo, key, compute)
        memo.commit()
    return value


def _memo() -> sqlite3.Connection:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    memo = sqlite3.connect(folder / "digests.sqlite", timeout=60)
    memo.execute("CREATE TABLE IF NOT EXISTS digests (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    return memo


def _memoised(memo: sqlite3.Connection, key: str, compute: Callable[[], str]) -> str:
    row = memo.execute("SELECT value FROM digests WHERE key = ?", (key,)).fetchone()
    if row:
        return str(row[0])
    value = compute()
    memo.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (key, value))
    return value


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{path.absolute()}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def _stream(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
