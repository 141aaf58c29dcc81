"""Embeddings by content: safetensors shards that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ibench.engine.places import place_of
from ibench.engine.plan import Job, shards_of
from ibench.hashing import sha256_json

_PART_LIVES = 3600.0  # seconds


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` is float32 [n, dim], unit rows; ``unreadable`` maps a position to why it has none (its row is 0)."""

    vectors: NDArray[np.float32]
    unreadable: dict[int, str] = field(default_factory=dict)

    def followed_by(self, more: Embeddings) -> Embeddings:
        """These, then those of ``more`` samples."""
        later = {len(self.vectors) + position: reason for position, reason in more.unreadable.items()}
        both = _as_wide_as_any([self.vectors, more.vectors])
        return Embeddings(np.concatenate(both), self.unreadable | later)


@dataclass(frozen=True)
class Entry:
    """What the store holds of one job: its identity, its shards and their bytes, when it was last used (s since 1970),
    and how many samples a second were encoded when it was made, if that run came to its end."""

    key: str
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
    """Shards by content: ``<root>/<key>/<number>.safetensors``, beside ``key.json`` which says what the key is.

    ``root`` is a folder, or a URL that fsspec knows. Raises IbenchError for a URL that cannot be reached.
    """

    def __init__(self, root: str | Path) -> None:
        self.place = place_of(root)

    def write(self, job: Job, number: int, shard: Embeddings) -> None:
        """Keep a shard; killed at any moment, whole or absent."""
        if not self.place.holds(f"{job.key}/key.json"):
            identity = json.dumps(job.identity, indent=1, sort_keys=True, ensure_ascii=False)
            self.place.write(f"{job.key}/key.json", identity.encode())
        # one metadata key: safetensors writes several in any order, and equal shards are to be equal bytes
        file = f"{job.key}/{_name(number)}"
        about = json.dumps({"sha256": _digest(shard, file), "unreadable": shard.unreadable})
        data = save({"embeddings": np.ascontiguousarray(shard.vectors)}, {"ibench": about})
        self.place.write(file, data)

    def missing(self, job: Job) -> list[int]:
        """The numbers of the shards that have to be made. Only listed: what a shard holds is looked at by `load`."""
        held = self.place.names(job.key)
        return [number for number in range(len(job.shards)) if _name(number) not in held]

    def begun(self, job: Job) -> bool:
        """Whether anything of a job is here."""
        return bool(self.place.names(job.key))

    def load(self, job: Job | _Rows) -> Embeddings | None:
        """All shards of a job in order, each read once; None where one is not there.

        A shard that is not what was written (its checksum says) is removed, and so missing from then on.
        """
        shards = [self._read(job, number) for number in range(len(job.shards))]
        whole = [shard for shard in shards if shard is not None]
        if len(whole) < len(shards):
            return None
        self.place.touch(f"{job.key}/key.json")  # its time says when the job was last used
        return Embeddings(
            np.concatenate(_as_wide_as_any([shard.vectors for shard in whole])),
            {
                rows.start + position: reason
                for rows, shard in zip(job.shards, whole, strict=True)
                for position, reason in shard.unreadable.items()
            },
        )

    def _read(self, job: Job | _Rows, number: int) -> Embeddings | None:
        file = f"{job.key}/{_name(number)}"
        data = self.place.read(file)
        if data is None:
            return None
        shard = _whole_shard(data, file)
        if shard is None or len(shard.vectors) != len(job.shards[number]):
            self.place.remove(file)
            return None
        return shard

    def note_items(self, job: Job) -> None:
        """Say which items a finished job holds, for jobs that want some of them in other company."""
        noted = f"items/{job.make}/{job.key}"
        if job.contents and not self.place.holds(noted) and not self.missing(job):
            self.place.write(noted, _sealed(bytes.fromhex("".join(job.contents))))

    def rows_of_others(self, job: Job) -> dict[str, NDArray[np.float32]]:
        """The vectors that finished jobs of the same make hold of a job's items, by content.

        A job that is gone, or damaged, holds nothing any more, and its note goes too.
        """
        wanted, found = set(job.contents), dict[str, NDArray[np.float32]]()
        for key in sorted(self.place.names(f"items/{job.make}")):
            noted = f"items/{job.make}/{key}"
            digests = _unsealed(self.place.read(noted)).hex()
            contents = [digests[start : start + 64] for start in range(0, len(digests), 64)]
            rows = {content: row for row, content in enumerate(contents) if content in wanted}
            if not rows.keys() - found.keys():
                continue
            held = self.load(_Rows(key, tuple(shards_of(len(contents)))))
            if held is None:
                self.place.remove(noted)
                continue
            found = {content: held.vectors[row] for content, row in rows.items()} | found
        return found

    def note_rate(self, job: Job, samples_per_second: float) -> None:
        """Remember how fast a job was encoded, for the estimates of later plans."""
        self.place.write(f"{job.key}/rate.json", json.dumps({"samples_per_second": samples_per_second}).encode())

    def settled(self, question: Mapping[str, Any]) -> Any:
        """What `settle` was told of a question, or None."""
        name = _answer_to(question)
        noted = self.place.read(name)
        answer = _parsed(noted).get("answer")
        if noted is not None and answer is None:
            self.place.remove(name)  # damaged; the next answer stands
        return answer

    def settle(self, question: Mapping[str, Any], answer: Any) -> Any:
        """Keep an answer for all processes that share the store; the first one stands, and is returned."""
        noted = json.dumps({"question": question, "answer": answer}, indent=1).encode()
        self.place.write(_answer_to(question), noted, replace=False)
        return self.settled(question)

    def entries(self) -> list[Entry]:
        """Every job in the store, the one used last first."""
        files: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for path, size in self.place.sizes().items():
            folder, _, name = path.rpartition("/")
            files[folder][name] = size
        found = [self._entry(folder, sizes) for folder, sizes in files.items() if "key.json" in sizes]
        return sorted(found, key=lambda entry: -entry.used)

    def _entry(self, key: str, sizes: Mapping[str, int]) -> Entry:
        shards = [size for name, size in sizes.items() if name.endswith(".safetensors")]
        identity, rate = (_parsed(self.place.read(f"{key}/{name}")) for name in ("key.json", "rate.json"))
        used = self.place.changed(f"{key}/key.json")
        return Entry(key, identity, len(shards), sum(shards), used, rate.get("samples_per_second"))

    def collect(self, before: float) -> list[str]:
        """What may go, for `remove`: jobs last used before a time (s since 1970), and parts of files that no run
        finished. Parts younger than an hour may belong to a run that is writing them now, and stay.
        """
        old = [entry.key for entry in self.entries() if entry.used < before]
        parts = [name for name in self.place.sizes() if name.endswith(".part") and name.partition("/")[0] not in old]
        return old + [part for part in parts if self.place.changed(part) < time.time() - _PART_LIVES]

    def remove(self, name: str) -> None:
        self.place.remove(name)


def _answer_to(question: Mapping[str, Any]) -> str:
    return f"settled/{sha256_json(question)}.json"


def _parsed(data: bytes | None) -> dict[str, Any]:
    """What the bytes of a JSON file say; nothing where there are none, or others than were written."""
    try:
        said = json.loads(data or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _name(number: int) -> str:
    return f"{number:05d}.safetensors"


def _whole_shard(data: bytes, file: str) -> Embeddings | None:
    """A shard from its bytes, or None when they are not those that were written to ``file``."""
    try:
        vectors = load(data)["embeddings"]
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # as the format of safetensors has it
        about = json.loads(header["__metadata__"]["ibench"])
        shard = Embeddings(vectors, {int(position): reason for position, reason in about["unreadable"].items()})
        written: str = about["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):  # the header may be any JSON
        return None
    return shard if _digest(shard, file) == written else None


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def _unsealed(data: bytes | None) -> bytes:
    """What was sealed; nothing where it is gone or not what was written."""
    return data[:-32] if data is not None and data == _sealed(data[:-32]) else b""


def _as_wide_as_any(several: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The same vectors, where those of only unreadable samples, which never learned the size of one, have it too."""
    dim = max(vectors.shape[1] for vectors in several)
    return [vectors if vectors.any() else np.zeros((len(vectors), dim), np.float32) for vectors in several]


def _digest(shard: Embeddings, file: str) -> str:
    """Over all that a shard holds, and of what it is: copied over another it is damaged."""
    digest = hashlib.sha256(np.ascontiguousarray(shard.vectors).data)
    digest.update(json.dumps([file, *shard.unreadable.items()]).encode())
    return digest.hexdigest()
