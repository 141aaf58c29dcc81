"""Processes that share a run: their shares make the bytes one process makes, and a lost share is made up for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ibench.datasets import Item
from ibench.engine import plan
from ibench.engine.encode import Means, encode_missing, encode_rest, missing_shards
from ibench.engine.estimate import planned
from ibench.engine.plan import Job, Share
from ibench.engine.store import EmbeddingStore


class Quiet:
    def plan(self, jobs: int, samples: int) -> None: ...
    def start(self, title: str, total: int) -> None: ...
    def advance(self, samples: int) -> None: ...
    def note(self, text: str) -> None: ...


class Doubler:
    """Embeds a number, and counts what it was asked for; with ``memory`` it holds so many views at a time."""

    def __init__(self, memory: int = 10**9) -> None:
        self.seen = 0
        self.memory = memory

    def preprocess(self, modality: Any, views: Mapping[str, Any]) -> Callable[[Any], Tensor]:
        return lambda number: torch.tensor([[float(number), 1.0]])

    def encode(self, modality: Any, batch: Tensor) -> Tensor:
        if len(batch) > self.memory:
            raise torch.OutOfMemoryError("out of memory")
        self.seen += len(batch)
        return torch.nn.functional.normalize(batch, dim=1)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_SIZE", 4)


def job(name: str, n: int) -> Job:
    items = [Item(str(i), partial(int, i), str(i)) for i in range(n)]
    return Job(name, "number", {}, items, {"samples": name, "modality": "number"}, inline=True)


def make(jobs: list[Job], store: Path, share: Share = Share(), encoder: Doubler | None = None) -> int:  # noqa: B008
    model = encoder or Doubler()
    return encode_missing(jobs, EmbeddingStore(store), lambda: model, Means(3), Quiet(), share)


def files(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*.safetensors")}


def test_shares_make_what_one_process_makes(tmp_path: Path) -> None:
    jobs = [job("a", 11), job("b", 5), job("c", 1)]
    assert make(jobs, tmp_path / "one") == 17
    assert sum(make(jobs, tmp_path / "three", Share(index, 3)) for index in range(3)) == 17
    assert files(tmp_path / "one") == files(tmp_path / "three")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 6))
def test_every_shard_falls_to_one_share(sizes: list[int], of: int) -> None:
    jobs = [job(str(number), size) for number, size in enumerate(sizes)]
    empty = EmbeddingStore(Path("nowhere"))
    shares = [
        [(one.key, number) for one, missing in missing_shards(jobs, empty, Share(index, of)) for number in missing]
        for index in range(of)
    ]
    every = [(one.key, number) for one in jobs for number in range(len(one.shards))]
    assert sorted(shard for share in shares for shard in share) == sorted(every)


def test_a_shard_falls_to_the_same_share_whatever_else_is_planned() -> None:
    """A process that starts later may have no texts left to encode, or fewer."""
    store, more, samples = EmbeddingStore(Path("nowhere")), job("more", 17), job("samples", 50)
    for index in range(3):
        share = Share(index, 3)
        assert missing_shards([more, samples], store, share)[-1] == missing_shards([samples], store, share)[-1]


def test_what_a_dead_process_left_is_made_up_for(tmp_path: Path) -> None:
    jobs = [job("a", 11), job("b", 9)]
    make(jobs, tmp_path / "one")
    make(jobs, tmp_path / "two", Share(0, 2))
    rest = Doubler()
    encode_rest(jobs, EmbeddingStore(tmp_path / "two"), lambda: rest, Means(3), Quiet())
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert 0 < rest.seen < 20


def test_a_batch_that_memory_does_not_hold_is_halved(tmp_path: Path) -> None:
    make([job("a", 11)], tmp_path / "one")
    small = Doubler(memory=1)
    make([job("a", 11)], tmp_path / "two", encoder=small)
    assert small.seen == 11
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_plan_says_what_is_held_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path)
    first, second = job("a", 11), job("b", 6)
    assert [(one.held, one.seconds) for one in planned([first, second], store)] == [(0, None), (0, None)]
    make([first], tmp_path)
    done, todo = planned([first, second], store)
    assert (done.held, done.seconds) == (11, 0.0)
    assert todo.held == 0
    assert todo.seconds is not None  # jobs of the same kind were seen
    assert todo.seconds > 0


def test_gc_takes_old_jobs_and_parts_that_nobody_writes(tmp_path: Path) -> None:
    import os
    import time

    make([job("a", 5), job("b", 5)], tmp_path)
    store = EmbeddingStore(tmp_path)
    old, new = store.entries()
    week_ago = time.time() - 7 * 86400
    os.utime(tmp_path / old.key / "key.json", (week_ago, week_ago))
    left, young = tmp_path / new.key / ".x.part", tmp_path / new.key / ".y.part"
    left.touch()
    young.touch()
    os.utime(left, (week_ago, week_ago))
    assert store.collect(0.0) == [f"{new.key}/.x.part"]
    assert set(store.collect(time.time() - 86400)) == {old.key, f"{new.key}/.x.part"}


def test_a_process_of_torchrun_computes_with_the_threads_of_one_alone() -> None:
    def threads(code: str, **environment: str) -> int:
        command = [sys.executable, "-c", f"{code}; import torch; print(torch.get_num_threads())"]
        rest = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        return int(subprocess.run(command, env={**rest, **environment}, capture_output=True, check=True).stdout)

    rank = threads("from ibench.cli import _torchrun_device as go; go('cpu')", OMP_NUM_THREADS="1", LOCAL_RANK="1")
    assert rank == threads("pass")
