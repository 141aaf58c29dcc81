"""Decoding on this machine: in the calling process, or in worker processes that run ahead of the encoder."""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
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
_CHUNK = 8  # items per message to a worker: few enough to spread, enough to pay for the message
_AHEAD = 4  # chunks each worker may be ahead of the encoder: bounds what waits in memory


@dataclass(frozen=True)
class Unreadable:
    """Stands in the stream for a sample that could not be decoded."""

    reason: str


class DecodePool:
    """Workers for a whole run; with 0 of them everything is decoded where it is called. A context manager."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is None:
            return
        if error is not None:  # do not wait for work nobody wants
            for process in list(self._executor._processes.values()):
                process.terminate()
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

    def _in_order(self, items: Sequence[Decodable], prepare: Prepare) -> Iterator[list[NDArray[Any] | Unreadable]]:
        executor = self._started()
        waiting: deque[tuple[Future[list[NDArray[Any] | Unreadable]], Sequence[Decodable]]] = deque()
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            waiting.append((executor.submit(_prepared_chunk, chunk, prepare), chunk))
            if len(waiting) > self.workers * _AHEAD:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # spawn: a forked child of a process that runs torch threads may hang in the first lock it meets
            self._executor = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _start_worker, (list(sys.path),)
            )
        return self._executor


def _start_worker(path: list[str]) -> None:
    sys.path[:] = path  # a factory's folder was put there when it was loaded
    torch.set_num_threads(1)


def _result(
    future: Future[list[NDArray[Any] | Unreadable]], chunk: Sequence[Decodable]
) -> list[NDArray[Any] | Unreadable]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        names = ", ".join(item.id for item in chunk)
        raise IbenchError(
            f"a decode worker died at or before one of: {names}; what is encoded is kept. "
            "Run again with --workers 0 to see the cause"
        ) from error


def _prepared_chunk(items: Sequence[Decodable], prepare: Prepare) -> list[NDArray[Any] | Unreadable]:
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
