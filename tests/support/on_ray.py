"""Numbers embedded on Ray by an encoder that may end or hold its process: ``on_ray.py FOLDER SECONDS_PER_BATCH``.

The script is a run for tests that kill it. Shards are of ten samples, here and in the actors.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ibench.datasets import Item
from ibench.engine import plan
from ibench.engine.encode import Means
from ibench.engine.plan import Job
from ibench.engine.store import EmbeddingStore

SHARD_SIZE = 10
WIDTH = 256


def see(number: int) -> Tensor:
    """[1, WIDTH]: the number, and noise that is always the same for it."""
    noise = torch.randn(WIDTH - 1, generator=torch.Generator().manual_seed(number))
    return torch.cat([torch.tensor([float(number)]), noise])[None]


@dataclass(frozen=True)
class Fragile:
    """Ends its process at some numbers, holds it at others, and fails at others; leaves its process' id in a folder."""

    seconds: float = 0.0
    kills: frozenset[int] = frozenset()
    hangs: frozenset[int] = frozenset()
    fails: frozenset[int] = frozenset()
    processes: Path | None = None

    def __call__(self) -> Fragile:
        plan.SHARD_SIZE = SHARD_SIZE
        if self.processes is not None:
            (self.processes / str(os.getpid())).touch()
        return self

    def preprocess(self, modality: Any, views: Mapping[str, Any]) -> Callable[[Any], Tensor]:
        return see

    def encode(self, modality: Any, batch: Tensor) -> Tensor:
        numbers = {int(number) for number in batch[:, 0]}
        time.sleep(self.seconds)
        if numbers & self.kills:
            os.kill(os.getpid(), signal.SIGSEGV)
        if numbers & self.hangs:
            ctypes.PyDLL(None).sleep(3600)  # as native code that never gives Python its lock back
        if numbers & self.fails:
            raise ValueError("no such number")
        weights = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.normalize((batch @ weights).relu() @ weights.T, dim=1)


def job(name: str, n: int, decode: Mapping[int, Callable[[], int]] | None = None) -> Job:
    """The numbers below ``n``, made in the actor; where some are to be decoded otherwise, in its decode workers."""
    items = [Item(str(number), (decode or {}).get(number, partial(int, number)), "") for number in range(n)]
    return Job(name, "number", {}, items, {"samples": name, "modality": "number"}, inline=decode is None)


JOBS = (job("a", 95), job("b", 200), job("c", 3))


class Lines:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total = self.done = 0

    def plan(self, jobs: int, samples: int) -> None: ...

    def start(self, title: str, total: int) -> None:
        self.total += total

    def advance(self, samples: int) -> None:
        self.done += samples

    def note(self, text: str) -> None:
        self.notes.append(text)


if __name__ == "__main__":
    from ibench.engine.ray import Cluster, connected, encode_on

    plan.SHARD_SIZE = SHARD_SIZE
    opening = Fragile(seconds=float(sys.argv[2]))
    with connected():
        encode_on(Cluster(2, 60.0), JOBS, EmbeddingStore(Path(sys.argv[1])), opening, Means(4), 0, Lines())
    print("done")
