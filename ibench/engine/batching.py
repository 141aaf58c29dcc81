"""How many views go through an encoder at a time: as asked, or probed; and less where memory does not hold so many."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ibench.errors import IbenchError

LARGEST = 512
"""No batch is larger: beyond it no encoder gains."""

_FIRST = 4
_GAIN = 1.05  # a larger batch is worth its memory if it is so much faster
_LONG = 2.0  # seconds; encoders this slow gain nothing from larger batches, and probing on would take minutes

Forward = Callable[[Tensor], Tensor]


def probed(forward: Forward, view: Tensor) -> int:
    """The batch size to use for views [1, ...] like this one: doubled while that pays and memory holds it.

    Every size is tried twice: the first pass of a shape pays for what the device has to prepare.
    """
    best, rate = 1, 0.0
    size = _FIRST
    while size <= LARGEST:
        batch = view.expand(size, *view.shape[1:]).contiguous()
        seconds = _seconds(forward, batch)
        if seconds is None or size / seconds < rate * _GAIN:
            break
        best, rate = size, size / seconds
        if seconds > _LONG:
            break
        size *= 2
    return best


def _seconds(forward: Forward, batch: Tensor) -> float | None:
    """How long a batch takes, or None where memory does not hold it."""
    try:
        forward(batch).cpu()
        started = time.perf_counter()
        forward(batch).cpu()  # waits for the device
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        _give_back()
        return None
    return time.perf_counter() - started


@dataclass
class WithinMemory:
    """A forward pass that splits what memory does not hold, and remembers in ``largest`` how many views it held."""

    forward: Forward
    title: str
    largest: int

    def __call__(self, batch: Tensor) -> Tensor:
        """Vectors of a batch, on any device. Raises IbenchError where memory does not hold a single view, and
        for what is not a vector for each view."""
        made: list[Tensor] = []
        while len(batch):
            part = batch[: self.largest]
            vectors = self._tried(part)
            if vectors is None:
                self.largest = len(part) // 2
                continue
            made.append(vectors)
            batch = batch[len(part) :]
        return torch.cat(made)

    def _tried(self, part: Tensor) -> Tensor | None:
        try:
            return _one_each(self.forward(part), len(part), self.title)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if len(part) == 1:
                raise IbenchError(
                    f"{self.title}: memory does not hold a single view ({str(error).splitlines()[0]})"
                ) from error
        _give_back()
        return None


def _one_each(vectors: object, views: int, title: str) -> Tensor:
    if isinstance(vectors, Tensor) and vectors.ndim == 2 and len(vectors) == views:
        return vectors
    found = f"a tensor {list(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
    raise IbenchError(
        f"{title}: 'encode' gave {found} for {views} views, not a tensor [{views}, dim]; "
        "`ibench encoders check` tries all that an encoder has to keep"
    )


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)  # the latter on a CPU


def _give_back() -> None:
    """What a failed try left in pieces."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
