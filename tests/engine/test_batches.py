"""Batches stay within a shard and lose nothing; memory that does not hold them makes them smaller, not the run fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ibench.datasets import Item
from ibench.engine import plan
from ibench.engine.batches import ahead, batches
from ibench.engine.batching import LARGEST, WithinMemory, probed
from ibench.engine.local import Unreadable
from ibench.engine.plan import Job
from ibench.errors import IbenchError

SAMPLES = st.lists(st.integers(0, 5), min_size=1, max_size=20)  # views of each sample; 0 stands for an unreadable one


@given(SAMPLES, st.integers(1, 7), st.integers(1, 6))
def test_every_view_is_in_one_batch_of_its_shard_in_order(views_of: list[int], size: int, shard_size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_SIZE", shard_size)
        job = Job("a", "number", {}, [Item(str(i), partial(int, i), str(i)) for i in range(len(views_of))], {})
        decoded = [
            torch.tensor([[i, view] for view in range(count)]) if count else Unreadable("why")
            for i, count in enumerate(views_of)
        ]
        made = list(batches([(job, number) for number in range(len(job.shards))], iter(decoded), {job.key: size}))
        for number, rows in enumerate(job.shards):
            mine = [batch for batch in made if batch.shard.number == number]
            assert [batch.last for batch in mine] == [False] * (len(mine) - 1) + [True]
            assert all(len(batch.views) == size for batch in mine[:-1] if batch.views is not None)
            found = [view for batch in mine if batch.views is not None for view in batch.views.tolist()]
            assert found == [[i, view] for i in rows for view in range(views_of[i])]
            assert mine[0].shard.views_of == [views_of[i] for i in rows]
            assert mine[0].shard.unreadable == {i - rows.start: "why" for i in rows if not views_of[i]}


def test_ahead_keeps_the_order_and_works_in_another_thread() -> None:
    threads = set()

    def numbers() -> Iterator[int]:
        for number in range(50):
            threads.add(threading.current_thread())
            yield number

    assert list(ahead(numbers())) == list(range(50))
    assert threading.current_thread() not in threads


def test_what_fails_ahead_fails_here_and_in_its_turn() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise IbenchError("third")

    made = ahead(failing())
    assert next(made) == 1
    with pytest.raises(IbenchError, match="third"):
        next(made)


def test_ahead_is_no_further_ahead_than_it_may_be() -> None:
    taken = []
    made = ahead((taken.append(number) or number for number in range(100)), depth=3)
    next(made)
    made.close()
    assert len(taken) <= 5


def test_gradients_are_off_ahead_too() -> None:
    """They are a thread's own: a front end with weights would else keep what they are made of."""
    weight = torch.ones(1, requires_grad=True)
    with torch.no_grad():
        (made,) = ahead(weight * number for number in [2])
    assert not made.requires_grad


class Device:
    """Memory for so many views at a time."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.tried: list[int] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.tried.append(len(batch))
        if len(batch) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch * 2


def test_what_memory_held_is_remembered() -> None:
    device = Device(3)
    forward = WithinMemory(device, "a job", 16)
    batch = torch.arange(16.0)[:, None]
    assert torch.equal(forward(batch), batch * 2)
    assert torch.equal(forward(batch), batch * 2)
    assert forward.largest == 2
    assert [size for size in device.tried if size > 3] == [16, 8, 4]  # each once: the second batch is not tried whole


def test_a_view_that_memory_does_not_hold_is_an_error() -> None:
    with pytest.raises(IbenchError, match=r"a job: memory does not hold a single view \(CUDA out of memory\)"):
        WithinMemory(Device(0), "a job", 4)(torch.ones(4))


def test_any_other_failure_is_not_taken_for_a_lack_of_memory() -> None:
    def broken(batch: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        WithinMemory(broken, "a job", 4)(torch.ones(4))


@pytest.mark.parametrize("holds", [1, 8, 100])
def test_a_probed_batch_is_one_that_memory_holds(holds: int) -> None:
    found = probed(Device(holds), torch.ones(1, 3))
    assert 1 <= found <= min(holds, LARGEST)


def test_a_probe_grows_while_larger_batches_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose time is 10 ms and 1 ms a view beyond 32: twice the batch pays up to 64 and hardly beyond."""
    clock = 0.0

    def forward(batch: Tensor) -> Tensor:
        nonlocal clock
        clock += 0.010 + max(0, len(batch) - 32) * 0.001
        return batch

    monkeypatch.setattr("ibench.engine.batching.time.perf_counter", lambda: clock)
    assert probed(forward, torch.ones(1, 3)) == 32
