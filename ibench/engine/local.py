"""Decoding on this machine: in the calling process, or in worker processes that run ahead of the encoder."""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout  # another class than TimeoutError in Python 3.10
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibench.engine.plan import Decodable
from ibench.errors import IbenchError, UnreadableSample

Prepare: TypeAlias = Callable[[Any], Tensor]

DECODE_LIMIT = 300.0
"""Seconds a sample may take to decode in a worker; a decoder that hangs would hold the run for ever."""

_CHUNK = 8  # items per message to a worker: few enough to spread, enough to pay for the message
_AHEAD = 4  # chunks each worker may be ahead of the encoder: bounds what waits in memory


@dataclass(frozen=True)
class Unreadable:
    """Stands in the stream for a sample that could not be decoded."""

    reason: str


_Chunk: TypeAlias = "list[NDArray[Any] | Unreadable]"


class DecodePool:
    """Workers for a whole run; with 0 of them everything is decoded where it is called. A context manager.

    A sample whose decoder crashes its worker, or is not done after ``limit`` seconds, costs that sample and not the
    run: the worker is replaced, and the samples it held are tried again one by one. Decoding here has no such shield.
    """

    def __init__(self, workers: int, limit: float = DECODE_LIMIT) -> None:
        self.workers = workers
        self.limit = limit
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._kill()  # do not wait for work nobody wants
        elif self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def stream(self, items: Sequence[Decodable], prepare: Prepare, inline: bool) -> Iterator[Tensor | Unreadable]:
        """The items decoded and prepared, in order: tensors [views, ...], or why there is none."""
        if inline or self.workers == 0:
            for item in items:
                yield _prepared(item, prepare)
            return
        for chunk in self._in_order(items, prepare):
            for result in chunk:
                yield result if isinstance(result, Unreadable) else torch.from_numpy(result)

    def _in_order(self, items: Sequence[Decodable], prepare: Prepare) -> Iterator[_Chunk]:
        chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
        waiting: deque[tuple[Sequence[Decodable], Future[_Chunk]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, self._submit(chunk, prepare)))
            if len(waiting) > self.workers * _AHEAD:
                yield self._first_of(waiting, prepare)
        while waiting:
            yield self._first_of(waiting, prepare)

    def _first_of(self, waiting: deque[tuple[Sequence[Decodable], Future[_Chunk]]], prepare: Prepare) -> _Chunk:
        chunk, future = waiting.popleft()
        try:
            return future.result(timeout=self.limit)
        except (BrokenProcessPool, FutureTimeout):
            self._kill()
        results = [self._alone(item, prepare) for item in chunk]
        lost = [(later, self._submit(later, prepare)) for later, _ in waiting]
        waiting.clear()
        waiting.extend(lost)
        return results

    def _alone(self, item: Decodable, prepare: Prepare) -> NDArray[Any] | Unreadable:
        """One sample in a worker by itself; twice, since a worker may die of something else than its sample."""
        for _ in range(2):
            try:
                return self._submit([item], prepare).result(timeout=self.limit)[0]
            except BrokenProcessPool:
                self._kill()
            except FutureTimeout:
                self._kill()
                return Unreadable(f"decoding was not done after {self.limit:g} s")
        return Unreadable("decoding crashed its process")

    def _submit(self, chunk: Sequence[Decodable], prepare: Prepare) -> Future[_Chunk]:
        try:
            return self._started().submit(_prepared_chunk, chunk, prepare)
        except BrokenProcessPool:  # a worker died while it had nothing to do
            self._kill()
            return self._started().submit(_prepared_chunk, chunk, prepare)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # spawn: a forked child of a process that runs torch threads may hang in the first lock it meets
            self._executor = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _start_worker, (list(sys.path),)
            )
            self._executor.submit(_nothing).result()  # the limit is for decoding, not for a worker's own start
        return self._executor

    def _kill(self) -> None:
        if self._executor is None:
            return
        for process in list((self._executor._processes or {}).values()):
            process.kill()
        self._executor.shutdown(cancel_futures=True)
        self._executor = None


def _start_worker(path: list[str]) -> None:
    sys.path[:] = path  # a factory's folder was put there when it was loaded
    torch.set_num_threads(1)


def _nothing() -> None:
    """What a worker does that has only to be there."""


def _prepared_chunk(items: Sequence[Decodable], prepare: Prepare) -> _Chunk:
    # as arrays: a pickled torch tensor would hold a file descriptor until the encoder gets to it
    results = (_prepared(item, prepare) for item in items)
    return [result if isinstance(result, Unreadable) else np.asarray(result) for result in results]


def _prepared(item: Decodable, prepare: Prepare) -> Tensor | Unreadable:
    try:
        raw = item.decode()
        return prepare(raw)
    except UnreadableSample as error:
        return Unreadable(str(error))
    except (IbenchError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise IbenchError(f"sample {item.id}: preprocessing failed: {type(error).__name__}: {error}") from error
