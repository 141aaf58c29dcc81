"""Decoding on this machine: in the calling process, or in worker processes that run ahead of the encoder."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout  # another class than TimeoutError in Python 3.10
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibench.engine.plan import Decodable
from ibench.errors import IbenchError, UnreadableSample

Prepare: TypeAlias = Callable[[Any], Tensor]

T = TypeVar("T")

DECODE_LIMIT = 300.0
"""Seconds a sample may take to decode in a worker; a decoder that hangs would hold the run for ever."""

_CHUNK = 8  # items per message to a worker: few enough to spread, enough to pay for the message
_STARTS = 3  # in a row; one worker may be killed as it starts by whatever killed the last one
_AHEAD = 4  # chunks each worker may be ahead of the encoder: bounds what waits in memory


@dataclass(frozen=True)
class Unreadable:
    """Stands in the stream for a sample that could not be decoded."""

    reason: str


@dataclass(frozen=True)
class Piece:
    """Items that one function prepares; ``inline`` in the process that asks, for those with nothing to decode."""

    items: Sequence[Decodable]
    prepare: Prepare
    inline: bool = False


_Chunk: TypeAlias = "list[NDArray[Any] | Unreadable]"


class DecodePool:
    """Workers for a whole run; with 0 of them everything is decoded where it is called. A context manager.

    A sample whose decoder crashes its worker, or is not done after ``limit`` seconds, costs that sample and not the
    run: the worker is replaced, and the samples it held are tried again one by one. Decoding here has no such shield.
    ``forked`` workers are there at once, where others import for seconds; those that replace them are not forked. They
    are for runs that nobody asked to have any: a front end that cannot be sent to them is called here.
    """

    def __init__(self, workers: int, limit: float = DECODE_LIMIT, forked: bool = False) -> None:
        self.workers = workers
        self.limit = limit
        self.forked = forked
        self._executor: ProcessPoolExecutor | None = None
        self._ready: Future[None] = Future()
        self._lost = self._closed = False
        self._changing = threading.Lock()  # a thread may read from the pool while another ends it
        self._waiting: deque[tuple[Piece, Future[_Chunk] | None]] = deque()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if error is not None:
            self._kill()  # do not wait for work nobody wants
        elif self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def stream(self, work: Iterable[Piece]) -> Iterator[Tensor | Unreadable]:
        """All items of all pieces decoded and prepared, in order: tensors [views, ...], or why there is none.

        Workers go on with the next piece while the last samples of one are encoded, and with what is behind a piece
        that is made inline while that is made. Raises IbenchError for a front end that fails, gives no views or cannot
        be sent to the workers that were asked for, and for workers that die as they start; RuntimeError once the pool
        is closed.
        """
        for piece, future in self._submitted(work):
            for result in self._results(piece, future):
                yield result if isinstance(result, Unreadable) else torch.as_tensor(result)

    def _submitted(self, work: Iterable[Piece]) -> Iterator[tuple[Piece, Future[_Chunk] | None]]:
        """Chunks in order, with their futures unless made inline; further ones are with the workers already."""
        self._waiting = waiting = deque[tuple[Piece, "Future[_Chunk] | None"]]()
        ahead = 0
        for chunk in _chunks(map(self._placed, work)):
            waiting.append((chunk, None if chunk.inline else self._submit(chunk)))
            ahead += not chunk.inline
            while waiting and ahead >= self.workers * _AHEAD:
                ahead -= waiting[0][1] is not None
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def _placed(self, piece: Piece) -> Piece:
        """The piece, inline where workers cannot have it. Raises IbenchError where they were asked for."""
        if piece.inline or self.workers == 0:
            return replace(piece, inline=True)
        try:
            pickle.dumps(piece.prepare)
        except Exception as error:  # pickling fails in many ways, each with a type of its own
            if not self.forked:
                raise IbenchError(
                    f"a front end does not pickle, so no decode process can run it ({error}); make it a function of "
                    "its module, or decode without processes: --workers 0"
                ) from error
            return replace(piece, inline=True)
        return piece

    def _results(self, chunk: Piece, future: Future[_Chunk] | None) -> Iterable[Tensor | NDArray[Any] | Unreadable]:
        if future is None:
            return (self._prepared_here(item, chunk.prepare) for item in chunk.items)
        try:
            # the limit is for decoding, not for a worker's own start; but a forked one starts at once or never
            self._ready.result(timeout=self.limit if self._forking else None)
            return future.result(timeout=self.limit)
        except (BrokenProcessPool, FutureTimeout):
            self._kill()
        results = [self._alone(Piece([item], chunk.prepare)) for item in chunk.items]
        self._submit_again()
        return results

    def _prepared_here(self, item: Decodable, prepare: Prepare) -> Tensor | Unreadable:
        self._refuse_if_closed()
        return _prepared(item, prepare)

    def _submit_again(self) -> None:
        """Give new workers what the lost ones held."""
        for position, (chunk, future) in enumerate(self._waiting):
            if future is not None:
                self._waiting[position] = (chunk, self._submit(chunk))

    def _alone(self, piece: Piece) -> NDArray[Any] | Unreadable:
        """One sample in a worker by itself; twice, since a worker may die of something else than its sample."""
        for _ in range(2):
            try:
                return self._submit(piece).result(timeout=self.limit)[0]
            except BrokenProcessPool:
                self._kill()
            except FutureTimeout:
                self._kill()
                return Unreadable(f"decoding was not done after {self.limit:g} s")
        return Unreadable("decoding crashed its process")

    def _submit(self, chunk: Piece) -> Future[_Chunk]:
        """Give workers a chunk, to new ones where those there were have died; not for ever."""
        for _ in range(_STARTS):
            try:
                return _submit(self._started(), _prepared_chunk, chunk)
            except BrokenProcessPool:  # a worker died while it had nothing to do
                self._kill()
        raise IbenchError("decode processes die as they start; free memory, or try --workers 0")

    def _started(self) -> ProcessPoolExecutor:
        with self._changing:
            self._refuse_if_closed()
            if self._executor is None:
                # a forked child of a process that runs torch threads may hang in the first lock it meets: seldom, as
                # torch's own loaders show, which fork; then the limit finds it, and the workers that follow are spawned
                context = multiprocessing.get_context("fork" if self._forking else "spawn")
                self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, (list(sys.path),))
                self._ready = _submit(self._executor, _nothing)
            executor, ready = self._executor, self._ready
        if self._lost:  # workers that die with nothing to decode would make every sample look like poison
            ready.result()
        return executor

    @property
    def _forking(self) -> bool:
        return self.forked and not self._lost

    def _refuse_if_closed(self) -> None:
        """End a thread that still reads from the pool, at its next sample."""
        if self._closed:
            raise RuntimeError("the pool was closed")

    def _kill(self) -> None:
        with self._changing:
            executor, self._executor = self._executor, None
            if executor is None:
                return
            self._lost = True
        for process in list((executor._processes or {}).values()):
            process.kill()
        executor.shutdown(cancel_futures=True)


def _chunks(work: Iterable[Piece]) -> Iterator[Piece]:
    for piece in work:
        for start in range(0, len(piece.items), _CHUNK):
            yield replace(piece, items=piece.items[start : start + _CHUNK])


def _submit(executor: ProcessPoolExecutor, work: Callable[..., T], *given: Any) -> Future[T]:
    """Give an executor some work, for which it may start a worker.

    That never hears Ctrl-C, not even as it imports: Ctrl-C is for the run, which ends its workers.
    """
    if sys.platform == "win32":  # has no such masks
        return executor.submit(work, *given)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
    try:
        return executor.submit(work, *given)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(path: list[str]) -> None:
    sys.path[:] = path  # a factory's folder was put there when it was loaded
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A run that is killed cannot tell its workers to stop, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _nothing() -> None:
    """What a worker does that has only to be there."""


def _prepared_chunk(chunk: Piece) -> _Chunk:
    # as arrays: a pickled torch tensor would hold a file descriptor until the encoder gets to it
    results = (_prepared(item, chunk.prepare) for item in chunk.items)
    return [result if isinstance(result, Unreadable) else np.asarray(result) for result in results]


def _prepared(item: Decodable, prepare: Prepare) -> Tensor | Unreadable:
    try:
        return _views(prepare(item.decode()), item.id)
    except UnreadableSample as error:
        return Unreadable(str(error))
    except IbenchError:
        raise
    except Exception as error:
        raise IbenchError(f"sample {item.id}: preprocessing failed: {type(error).__name__}: {error}") from error


def _views(made: Any, sample: str) -> Tensor:
    """What a front end made of a sample. Raises IbenchError unless it has views, each with at least one axis."""
    shape = tuple(getattr(made, "shape", ()))
    if len(shape) < 2 or not shape[0]:
        found = f"shape {shape}" if hasattr(made, "shape") else type(made).__name__
        raise IbenchError(
            f"sample {sample}: 'preprocess' gave {found}, not a tensor [views, ...] with at least one view; "
            "`[None]` after a single view puts that axis before it"
        )
    return made  # type: ignore[no-any-return]
