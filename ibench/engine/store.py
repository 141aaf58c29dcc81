"""Embeddings by content: safetensors shards that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ibench.engine.plan import Job, shards_of
from ibench.errors import IbenchError
from ibench.hashing import sha256_json

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


@dataclass(frozen=True)
class _Rows:
    """All that has to be known of a job to read it."""

    key: str
    shards: tuple[range, ...]


class EmbeddingStore:
    """A folder of shards: ``<root>/<key>/<number>.safetensors``, beside ``key.json`` which says what the key is."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, job: Job, number: int, shard: Embeddings) -> None:
        """Keep a shard: written under a temporary name, synced, renamed; killed at any moment, whole or absent."""
        folder = self.root / job.key
        if not (folder / "key.json").exists():
            identity = json.dumps(job.identity, indent=1, sort_keys=True, ensure_ascii=False)
            _write_whole(folder / "key.json", identity.encode())
        # one metadata key: safetensors writes several in any order, and equal shards are to be equal bytes
        about = json.dumps({"sha256": _digest(shard), "unreadable": shard.unreadable})
        data = save({"embeddings": np.ascontiguousarray(shard.vectors)}, {"ibench": about})
        _write_whole(folder / _name(number), data)

    def missing(self, job: Job) -> list[int]:
        """The numbers of the shards that have to be made. Only listed: what a shard holds is looked at by `load`."""
        held = set(os.listdir(folder)) if (folder := self.root / job.key).is_dir() else set()
        return [number for number in range(len(job.shards)) if _name(number) not in held]

    def begun(self, job: Job) -> bool:
        """Whether anything of a job is here."""
        return (self.root / job.key).is_dir()

    def load(self, job: Job | _Rows) -> Embeddings | None:
        """All shards of a job in order, each read once; None where one is not there.

        A shard that is not what was written (its checksum says) is removed, and so missing from then on.
        """
        shards = [self._read(job, number) for number in range(len(job.shards))]
        whole = [shard for shard in shards if shard is not None]
        if len(whole) < len(shards):
            return None
        with suppress(FileNotFoundError):  # tidied away this moment
            os.utime(self.root / job.key / "key.json")  # its time says when the job was last used
        dim = max(shard.vectors.shape[1] for shard in whole)  # one of only unreadable samples never learned it
        return Embeddings(
            np.concatenate([_as_wide(shard.vectors, dim) for shard in whole]),
            {
                rows.start + position: reason
                for rows, shard in zip(job.shards, whole, strict=True)
                for position, reason in shard.unreadable.items()
            },
        )

    def _read(self, job: Job | _Rows, number: int) -> Embeddings | None:
        file = self.root / job.key / _name(number)
        try:
            shard = _whole_shard(file.read_bytes())
        except FileNotFoundError:
            return None
        if shard is None or len(shard.vectors) != len(job.shards[number]):
            file.unlink(missing_ok=True)
            return None
        return shard

    def note_items(self, job: Job) -> None:
        """Say which items a finished job holds, for jobs that want some of them in other company."""
        noted = self.root / "items" / job.make / job.key
        if job.contents and not noted.exists() and not self.missing(job):
            _write_whole(noted, _sealed(bytes.fromhex("".join(job.contents))))

    def rows_of_others(self, job: Job) -> dict[str, NDArray[np.float32]]:
        """The vectors that finished jobs of the same make hold of a job's items, by content.

        A job that is gone, or damaged, holds nothing any more, and its note goes too.
        """
        wanted, found = set(job.contents), dict[str, NDArray[np.float32]]()
        for noted in sorted((self.root / "items" / job.make).glob("*")):
            digests = _unsealed(noted).hex()
            contents = [digests[start : start + 64] for start in range(0, len(digests), 64)]
            rows = {content: row for row, content in enumerate(contents) if content in wanted}
            if not rows.keys() - found.keys():
                continue
            held = self.load(_Rows(noted.name, tuple(shards_of(len(contents)))))
            if held is None:
                noted.unlink(missing_ok=True)
                continue
            found = {content: held.vectors[row] for content, row in rows.items()} | found
        return found

    def note_rate(self, job: Job, samples_per_second: float) -> None:
        """Remember how fast a job was encoded, for the estimates of later plans."""
        _write_whole(self.root / job.key / "rate.json", json.dumps({"samples_per_second": samples_per_second}).encode())

    def settled(self, question: Mapping[str, Any]) -> Any:
        """What `settle` was told of a question, or None."""
        noted = self._answer_to(question)
        return json.loads(noted.read_text())["answer"] if noted.exists() else None

    def settle(self, question: Mapping[str, Any], answer: Any) -> Any:
        """Keep an answer for all processes that share the store; the first one stands, and is returned."""
        noted = self._answer_to(question)
        if not noted.exists():
            _write_whole(noted, json.dumps({"question": question, "answer": answer}, indent=1).encode(), replace=False)
        return self.settled(question)

    def _answer_to(self, question: Mapping[str, Any]) -> Path:
        return self.root / "settled" / f"{sha256_json(question)}.json"

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


def _name(number: int) -> str:
    return f"{number:05d}.safetensors"


def _whole_shard(data: bytes) -> Embeddings | None:
    """A shard from its bytes, or None when they are not those that were written."""
    try:
        vectors = load(data)["embeddings"]
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # as the format of safetensors has it
        about = json.loads(header["__metadata__"]["ibench"])
        shard = Embeddings(vectors, {int(position): reason for position, reason in about["unreadable"].items()})
    except (SafetensorError, ValueError, KeyError):
        return None
    return shard if _digest(shard) == about["sha256"] else None


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def _unsealed(file: Path) -> bytes:
    """What was sealed in a file; nothing where it is gone or not what was written."""
    with suppress(FileNotFoundError):
        data = file.read_bytes()
        if data == _sealed(data[:-32]):
            return data[:-32]
    return b""


def _as_wide(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    return vectors if vectors.any() else np.zeros((len(vectors), dim), np.float32)


def _digest(shard: Embeddings) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(shard.vectors).data)
    digest.update(json.dumps(list(shard.unreadable.items())).encode())
    return digest.hexdigest()


def _write_whole(path: Path, data: bytes, replace: bool = True) -> None:
    """Write a file that is whole or absent; unless ``replace``, one that is there already stays."""
    with _refusals_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _put(temporary, path, replace)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(path.parent)


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


@contextmanager
def _refusals_told(folder: Path) -> Iterator[None]:
    """A full disk, a quota, a folder that is not ours: the user's to mend."""
    try:
        yield
    except OSError as error:
        raise IbenchError(
            f"cannot write to the store: {error.strerror} ({folder}); make room there or name another store with "
            "--store. What was finished is kept"
        ) from error
