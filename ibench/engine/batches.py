"""From decoded samples to batches that stay within a shard, made ahead of the encoder where that pays."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import torch
from torch import Tensor

from ibench.engine.local import Unreadable
from ibench.engine.plan import Job

_AHEAD = 2  # batches, while the device has one: one being filled, one being sent

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Which shard of a job, how many views each of its samples gave, and why some gave none (position → reason)."""

    job: Job
    number: int
    views_of: list[int] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Views [n, ...] of one shard; ``last`` marks the shard's end, where there may be none left (None)."""

    shard: Shard
    views: Tensor | None
    last: bool


def batches(
    shards: Iterable[tuple[Job, int]], decoded: Iterator[Tensor | Unreadable], size_of: Mapping[str, int]
) -> Generator[Batch]:
    """The batches of each shard in order. ``size_of`` a job's key is how many views go into one."""
    for job, number in shards:
        yield from _batches_of(Shard(job, number), decoded, size_of[job.key])


def _batches_of(shard: Shard, decoded: Iterator[Tensor | Unreadable], size: int) -> Iterator[Batch]:
    waiting: list[Tensor] = []
    for position in range(len(shard.job.shards[shard.number])):
        sample = next(decoded)
        if isinstance(sample, Unreadable):
            shard.unreadable[position] = sample.reason
            shard.views_of.append(0)
            continue
        shard.views_of.append(len(sample))
        waiting.append(sample)
        while sum(map(len, waiting)) >= size:
            views = torch.cat(waiting)
            yield Batch(shard, views[:size], last=False)
            waiting = [views[size:]] if len(views) > size else []
    yield Batch(shard, torch.cat(waiting) if waiting else None, last=True)


def pinned(ready: Iterable[Batch]) -> Iterator[Batch]:
    """The batches in memory from which a GPU copies while it computes."""
    for batch in ready:
        yield Batch(batch.shard, None if batch.views is None else batch.views.pin_memory(), batch.last)


def ahead(things: Iterable[T], depth: int = _AHEAD) -> Generator[T]:
    """The same things in order, none of which is None, made in a thread that is up to ``depth`` ahead.

    What it raises is raised here, in its turn. Gradients are off in it, which is a thread's own affair. Nobody waits
    for it to end: a run that is interrupted ends though its decoder hangs.
    """
    asked, made = SimpleQueue[bool](), SimpleQueue[T | BaseException | None]()
    Thread(target=_make, args=(iter(things), asked, made), daemon=True).start()
    for _ in range(depth):
        asked.put(True)
    try:
        while (thing := made.get()) is not None:
            if isinstance(thing, BaseException):
                raise thing
            asked.put(True)
            yield thing
    finally:
        asked.put(False)


@torch.no_grad()
def _make(things: Iterator[T], asked: SimpleQueue[bool], made: SimpleQueue[T | BaseException | None]) -> None:
    """Put the next thing whenever one is asked for, or what was raised in its place; None behind the last."""
    while asked.get():
        try:
            made.put(next(things, None))
        except BaseException as error:
            made.put(error)
