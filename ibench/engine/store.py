"""Embeddings by content: safetensors shards that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ibench.engine.plan import Job

_PART_LIVES = 3600.0  # seconds


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` is float32 [n, dim], unit rows; ``unreadable`` maps a position to why it has none (its row is 0)."""

    vectors: NDArray[np.float32]
    unreadable: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What the store holds of one job: its identity, its shards and their bytes, when it was last used (s since 1970),
    and how many samples a second were encoded when it was made, if that run came to its end."""

    folder: Path
    identity: Mapping[str, Any]
    shards: int
    bytes: int
    used: float
    rate: float | None


class EmbeddingStore:
    """A folder of shards: ``<root>/<key>/<number>.safetensors``, beside ``key.json`` which says what the key is."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, job: Job, number: int, shard: Embeddings) -> None:
        """Keep a shard: written under a temporary name, synced, renamed; killed at any moment, whole or absent."""
        folder = self.root / job.key
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "key.json").exists():
            identity = json.dumps(job.identity, indent=1, sort_keys=True, ensure_ascii=False)
            _write_whole(folder / "key.json", identity.encode())
        # one metadata key: safetensors writes several in any order, and equal shards are to be equal bytes
        about = json.dumps({"sha256": _digest(shard.vectors), "unreadable": shard.unreadable})
        data = save({"embeddings": np.ascontiguousarray(shard.vectors)}, {"ibench": about})
        _write_whole(_file(folder, number), data)

    def read(self, job: Job, number: int) -> Embeddings | None:
        """A shard, or None when it is absent, or damaged and so to be made again."""
        try:
            with safe_open(_file(self.root / job.key, number), framework="numpy") as file:
                about = json.loads(file.metadata()["ibench"])
                vectors = file.get_tensor("embeddings")
        except (FileNotFoundError, SafetensorError):
            return None
        whole = _digest(vectors) == about["sha256"] and len(vectors) == len(job.shards[number])
        unreadable = {int(position): reason for position, reason in about["unreadable"].items()}
        return Embeddings(vectors, unreadable) if whole else None

    def missing(self, job: Job) -> list[int]:
        """The numbers of the shards that have to be made."""
        return [number for number in range(len(job.shards)) if self.read(job, number) is None]

    def load(self, job: Job) -> Embeddings:
        """All shards of a finished job, in order."""
        vectors: list[NDArray[np.float32]] = []
        unreadable: dict[int, str] = {}
        for number, rows in enumerate(job.shards):
            shard = self.read(job, number)
            if shard is None:
                raise FileNotFoundError(f"shard {number} of {job.title} is not in the store")
            vectors.append(shard.vectors)
            unreadable |= {rows.start + position: reason for position, reason in shard.unreadable.items()}
        (self.root / job.key / "key.json").touch()  # its time says when the job was last used
        dim = max(part.shape[1] for part in vectors)  # a shard of only unreadable samples never learned it
        return Embeddings(
            np.concatenate([part if part.any() else np.zeros((len(part), dim), np.float32) for part in vectors]),
            unreadable,
        )

    def note_rate(self, job: Job, samples_per_second: float) -> None:
        """Remember how fast a job was encoded, for the estimates of later plans."""
        _write_whole(self.root / job.key / "rate.json", json.dumps({"samples_per_second": samples_per_second}).encode())

    def entries(self) -> list[Entry]:
        """Every job in the store, the one used last first."""
        found = [_entry(about.parent) for about in self.root.glob("*/key.json")]
        return sorted(found, key=lambda entry: -entry.used)

    def collect(self, before: float) -> list[Path]:
        """What may go: jobs last used before a time (s since 1970), and parts of shards that no run finished.

        Parts younger than an hour may belong to a run that is writing them now, and stay.
        """
        old = [entry.folder for entry in self.entries() if entry.used < before]
        parts = [part for part in self.root.glob("*/.*.part") if part.stat().st_mtime < time.time() - _PART_LIVES]
        return old + [part for part in parts if part.parent not in old]


def _entry(folder: Path) -> Entry:
    about = folder / "key.json"
    shards = [shard.stat().st_size for shard in folder.glob("*.safetensors")]
    identity = json.loads(about.read_text(encoding="utf-8"))
    noted = folder / "rate.json"
    rate = json.loads(noted.read_text())["samples_per_second"] if noted.exists() else None
    return Entry(folder, identity, len(shards), sum(shards), about.stat().st_mtime, rate)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def _digest(vectors: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()


def _write_whole(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
