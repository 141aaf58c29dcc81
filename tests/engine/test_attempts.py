"""Whatever dies, work is finite, every shard is made once, and exactly the samples that kill are blamed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibench.datasets import Item
from ibench.engine import plan
from ibench.engine.attempts import Attempt, Attempts, as_job
from ibench.engine.plan import Job
from ibench.errors import IbenchError, UnreadableSample

SIZE = 16


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_SIZE", SIZE)
        yield


def job(n: int) -> Job:
    return Job("numbers", "number", {}, [Item(str(i), partial(int, i), "") for i in range(n)], {})


def seen(attempt: Attempt) -> list[int | str]:
    """What a process would decode: numbers, or the reason why not."""
    found: list[int | str] = []
    for item in attempt.items:
        try:
            found.append(item.decode())
        except UnreadableSample as refused:
            found.append(str(refused))
    return found


def played(one: Job, kills: Callable[[list[int | str]], bool], most: int = 4) -> tuple[dict[int, list[int | str]], int]:
    """What was made of each shard when processes die as ``kills`` says of what they see; and how many attempts."""
    attempts, made, tried = Attempts(lambda _: None), {}, 0
    attempts.add(one, range(len(one.shards)))
    while attempts.unfinished:
        taken = attempts.take(most)
        cut = as_job(taken)
        assert [list(cut.items_of(number)) for number in range(len(cut.shards))] == [one.items for one in taken]
        while taken:
            tried += 1
            if kills(seen(taken[0])):
                attempts.give_back(taken[1:])
                attempts.failed(taken[0], "died")
                break
            attempt = taken.pop(0)
            if not attempt.trial:
                assert attempt.number not in made
                made[attempt.number] = seen(attempt)
            attempts.made(attempt)
    return made, tried


@given(st.integers(1, 4 * SIZE), st.data())
def test_exactly_the_poison_is_blamed_in_bounded_work(n: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, n - 1), max_size=6))
    made, tried = played(job(n), lambda numbers: bool(poison.intersection(numbers)), data.draw(st.integers(1, 5)))
    assert [one for number in sorted(made) for one in made[number]] == [
        "died" if number in poison else number for number in range(n)
    ]
    shards = len(made)
    assert tried <= 2 * shards + len(poison) * (2 + 2 * SIZE.bit_length())


@given(st.sets(st.integers(0, 30)))
def test_deaths_far_apart_blame_no_sample(moments: set[int]) -> None:
    """A machine that is taken away every now and then: never twice with the same single sample."""
    ticks = iter(range(10**6))
    apart = {3 * moment for moment in moments}
    made, _ = played(job(3 * SIZE), lambda _: next(ticks) in apart)
    assert [one for number in sorted(made) for one in made[number]] == list(range(3 * SIZE))


def test_samples_that_kill_only_together_end_the_run() -> None:
    with pytest.raises(IbenchError, match="shard 1 of numbers: died, again and again, and of no sample alone"):
        played(job(3 * SIZE), lambda numbers: {SIZE, 2 * SIZE - 1} <= set(numbers))


def test_a_hang_is_not_waited_for_twice() -> None:
    attempts = Attempts(lambda _: None)
    attempts.add(job(1), [0])
    (whole,) = attempts.take(1)
    attempts.failed(whole, "hung", sure=True)
    (alone,) = attempts.take(1)
    assert alone.trial
    attempts.failed(alone, "hung", sure=True)
    (again,) = attempts.take(1)
    assert (again.trial, seen(again)) == (False, ["hung"])
    attempts.made(again)
    assert not attempts.unfinished
