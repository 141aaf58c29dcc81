"""A decoder that crashes or hangs costs its sample; a worker that is killed costs nothing."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ibench.datasets import Item
from ibench.engine.local import DecodePool, Piece, Unreadable
from ibench.errors import IbenchError, UnreadableSample


def good(number: int) -> int:
    return number


def damaged() -> int:
    raise UnreadableSample("damaged")


def crash() -> int:
    faulthandler.disable()  # pytest's, in a forked worker
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def crash_once(mark: Path) -> int:
    """As a worker that the system killed: the sample is not to blame."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -1


def hang() -> int:
    time.sleep(3600)
    return 0


def bug() -> int:
    raise ZeroDivisionError


def as_tensor(number: int) -> Tensor:
    return torch.tensor([[number]])


def items(others: Mapping[int, Callable[[], int]], n: int = 30) -> list[Item]:
    return [Item(str(i), others.get(i, partial(good, i)), str(i)) for i in range(n)]


def decoded(pool: DecodePool, some: list[Item]) -> list[object]:
    found = pool.stream([Piece(some, as_tensor)])
    return [one.reason if isinstance(one, Unreadable) else int(one) for one in found]


@pytest.mark.parametrize(("workers", "forked"), [(2, False), (1, True)])
def test_order_is_kept_and_only_the_poison_is_lost(workers: int, forked: bool) -> None:
    poison = {3: crash, 4: damaged, 20: crash}
    with DecodePool(workers, forked=forked) as pool:
        found = decoded(pool, items(poison))
        again = decoded(pool, items({}, n=5))  # the pool goes on to the next job
    crashed = "decoding crashed its process"
    assert found == [{3: crashed, 4: "damaged", 20: crashed}.get(i, i) for i in range(30)]
    assert again == list(range(5))


def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    with DecodePool(1) as pool:
        assert decoded(pool, items({5: partial(crash_once, tmp_path / "mark")}, n=12)) == [
            -1 if i == 5 else i for i in range(12)
        ]


@pytest.mark.parametrize("forked", [False, True])
def test_a_decoder_that_hangs_is_left_behind(forked: bool) -> None:
    with DecodePool(1, limit=3.0, forked=forked) as pool:
        assert decoded(pool, items({1: hang}, n=4)) == [0, "decoding was not done after 3 s", 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_in_preprocessing_is_no_unreadable_sample(workers: int) -> None:
    with (
        pytest.raises(IbenchError, match="sample 1: preprocessing failed: ZeroDivisionError"),
        DecodePool(workers) as pool,
    ):
        decoded(pool, items({1: bug}, n=3))


def test_a_front_end_that_does_not_pickle_is_called_here_unless_workers_were_asked_for() -> None:
    work = [Piece(items({}, n=3), lambda number: torch.tensor([[number]]))]
    with DecodePool(1, forked=True) as pool:
        assert [int(one) for one in pool.stream(work) if isinstance(one, Tensor)] == [0, 1, 2]
    with pytest.raises(IbenchError, match=r"does not pickle.*lambda.*--workers 0"), DecodePool(1) as pool:
        list(pool.stream(work))


def test_a_thread_that_reads_from_a_pool_ends_with_it_at_its_next_sample() -> None:
    """The run has failed elsewhere, or was interrupted: nobody wants what is decoded."""
    with DecodePool(0) as pool:
        samples = pool.stream([Piece(items({}, n=3), as_tensor)])
        assert next(samples) == 0
    with pytest.raises(RuntimeError, match="the pool was closed"):
        next(samples)


def test_workers_end_with_a_run_that_is_killed() -> None:
    code = "from test_local import *\nwith DecodePool(1) as pool:\n    decoded(pool, items({}, n=1))\n"
    code += "    print(*pool._executor._processes, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, timeout=60)
    deadline = time.monotonic() + 60
    while _runs(int(killed.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_that_die_as_they_start_blame_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibench.engine.local._nothing", crash)
    with pytest.raises(IbenchError, match="decode processes die as they start"), DecodePool(1) as pool:
        decoded(pool, items({}, n=3))


def start_stuck_where_forked(path: list[str]) -> None:
    """As in a child that was forked while another thread held a lock."""
    if type(multiprocessing.current_process()).__name__ == "ForkProcess":
        hang()


def test_a_forked_worker_that_hangs_by_itself_blames_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibench.engine.local._start_worker", start_stuck_where_forked)
    with DecodePool(1, limit=5.0, forked=True) as pool:
        assert decoded(pool, items({}, n=12)) == list(range(12))
