"""The unit of planning: one job embeds one list of items with one front end, and is named by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ibench.hashing import sha256_json

SHARD_SIZE = 512
"""Samples in a shard. Part of every key: batches never cross a shard, so another size could give other last bits."""

_SAME_WORK = ("checkpoint", "modality", "preprocessing", "views", "dtype", "compiled", "device")


@dataclass(frozen=True)
class Share:
    """Which shards one of several processes makes: of each job every ``of``-th, which ones by ``index``."""

    index: int = 0
    of: int = 1


class Decodable(Protocol):
    """What the engine knows of an item: a name for messages, and how to make its raw sample."""

    @property
    def id(self) -> str: ...

    @property
    def decode(self) -> Callable[[], Any]: ...


@dataclass(frozen=True)
class Job:
    """Embeddings wanted: of ``items``, through the encoder's front end for ``modality`` and ``views``.

    ``identity`` is plain data over all that can move a bit of the result; its hash is the key in the store.
    ``inline`` marks items with nothing to decode, for which worker processes would cost more than they save;
    ``by_id`` those whose vectors the encoder has by their ids, which are then not decoded either. ``contents`` are the
    digests of items that other jobs of the same make may hold one by one (SHA-256, in hexadecimal), or empty.
    """

    title: str
    modality: Any
    views: Mapping[str, Any]
    items: Sequence[Decodable]
    identity: Mapping[str, Any]
    inline: bool = False
    by_id: bool = False
    contents: Sequence[str] = ()

    @cached_property
    def key(self) -> str:
        return sha256_json({**self.identity, "shard": SHARD_SIZE})

    @cached_property
    def shards(self) -> list[range]:
        """The items of each shard, as ranges of positions."""
        return shards_of(len(self.items))

    @property
    def make(self) -> str:
        """What jobs have in common that differ in their items only."""
        return sha256_json({**self.identity, "samples": None, "shard": SHARD_SIZE})

    def items_of(self, number: int) -> Sequence[Decodable]:
        """The items of one shard."""
        rows = self.shards[number]
        return self.items[rows.start : rows.stop]


def shards_of(items: int) -> list[range]:
    """How many items are cut into shards, as ranges of positions."""
    return [range(start, min(start + SHARD_SIZE, items)) for start in range(0, items, SHARD_SIZE)]


def work_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of a job's identity says how fast it goes, and how much memory a view takes."""
    return {part: identity.get(part) for part in _SAME_WORK}


def unique(jobs: Iterable[Job]) -> list[Job]:
    """The jobs without those whose result another one gives as well, in order."""
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.key, job)
    return list(first.values())
