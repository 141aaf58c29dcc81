"""Shards for processes that may die: what is tried next, and which sample is to blame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ibench.engine.plan import Decodable, Job
from ibench.errors import IbenchError, UnreadableSample

_TRIES = 2  # a process may die of something else than its samples; so one death accuses none
_SEARCHES = 2  # of a shard whose samples kill together and not alone


@dataclass
class _Case:
    """What is known of a shard: its samples that kill (position → how), searches begun, trials not done."""

    poison: dict[int, str] = field(default_factory=dict)
    searches: int = 0
    trials: int = 0


@dataclass(eq=False)
class Attempt:
    """A whole shard, to be kept; or as a ``trial`` some of its samples, to see whether a process dies of them too."""

    job: Job
    number: int
    positions: Sequence[int]
    case: _Case
    trial: bool = False
    deaths: int = 0

    @property
    def items(self) -> list[Decodable]:
        """The samples; known poison stands as what cannot be decoded, so that its neighbours' batches are the same."""
        items, poison = self.job.items_of(self.number), self.case.poison
        return [
            _Refused(items[position].id, poison[position]) if position in poison else items[position]
            for position in self.positions
        ]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.job.title}"


class Attempts:
    """The shards to be made, and trials of their samples; whoever takes some says how it went.

    A shard of which processes die twice is searched: its halves are tried, then theirs, until single samples are left
    that kill alone, twice. Those are unreadable from then on, and the shard is made whole without them, so the other
    rows have the bytes of a run that could not decode these samples. Work is finite whatever dies: samples that kill
    only together end the run. ``tell`` is told what people should know.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._waiting: deque[Attempt] = deque()
        self._taken = 0
        self._tell = tell

    def add(self, job: Job, numbers: Sequence[int]) -> None:
        """More shards to be made."""
        self._waiting.extend(_whole(job, number, _Case()) for number in numbers)

    @property
    def unfinished(self) -> bool:
        return bool(self._waiting or self._taken)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, most: int) -> list[Attempt]:
        """What to do next: a trial, or up to ``most`` shards of one job, whose samples one stream may decode."""
        taken = [self._waiting.popleft()] if self._waiting else []
        while taken and len(taken) < most and self._waiting and _follows(self._waiting[0], taken[-1]):
            taken.append(self._waiting.popleft())
        self._taken += len(taken)
        return taken

    def give_back(self, attempts: Sequence[Attempt]) -> None:
        """What was taken and not begun."""
        self._taken -= len(attempts)
        self._waiting.extendleft(reversed(attempts))

    def made(self, attempt: Attempt) -> None:
        self._taken -= 1
        if attempt.trial:
            self._tried(attempt)

    def failed(self, attempt: Attempt, how: str, sure: bool = False) -> None:
        """The process did not come to the attempt's end; ``sure`` that nothing but the attempt was the reason.

        Raises IbenchError for a shard that cannot be made and has no sample to blame.
        """
        self._taken -= 1
        attempt.deaths += 1
        once_more = not sure and attempt.deaths < _TRIES
        if once_more and (not attempt.trial or len(attempt.positions) == 1):
            if not attempt.trial:
                self._tell(f"{attempt}: {how}; trying once more")
            self._waiting.appendleft(attempt)
        elif not attempt.trial:
            self._search(attempt, how)
        elif len(attempt.positions) == 1:
            self._accuse(attempt, how)
        else:
            self._try_halves(attempt)
            self._tried(attempt)

    def _search(self, attempt: Attempt, how: str) -> None:
        case = attempt.case
        if case.searches == _SEARCHES:
            raise IbenchError(
                f"{attempt}: {how}, again and again, and of no sample alone; try a smaller --batch-size or more memory"
            )
        case.searches += 1
        self._tell(f"{attempt}: {how}; looking for the sample to blame")
        suspects = [position for position in attempt.positions if position not in case.poison]
        self._try_halves(replace(attempt, positions=suspects))
        if not case.trials:
            self._waiting.appendleft(_whole(attempt.job, attempt.number, case))

    def _accuse(self, attempt: Attempt, how: str) -> None:
        (position,) = attempt.positions
        attempt.case.poison[position] = how
        self._tell(f"{attempt}: sample {attempt.items[0].id!r} is taken as unreadable: {how}")
        self._tried(attempt)

    def _try_halves(self, attempt: Attempt) -> None:
        middle = len(attempt.positions) // 2
        halves = [half for half in (attempt.positions[:middle], attempt.positions[middle:]) if half]
        attempt.case.trials += len(halves)
        trials = [Attempt(attempt.job, attempt.number, half, attempt.case, trial=True) for half in halves]
        self._waiting.extendleft(reversed(trials))

    def _tried(self, attempt: Attempt) -> None:
        attempt.case.trials -= 1
        if not attempt.case.trials:
            self._waiting.appendleft(_whole(attempt.job, attempt.number, attempt.case))


def as_job(attempts: Sequence[Attempt]) -> Job:
    """A job of only what was taken together; its shards are those attempts, in order."""
    return replace(attempts[0].job, items=[item for attempt in attempts for item in attempt.items], contents=())


def _whole(job: Job, number: int, case: _Case) -> Attempt:
    return Attempt(job, number, range(len(job.shards[number])), case)


def _follows(later: Attempt, earlier: Attempt) -> bool:
    """Whether two attempts may stand together in a job of their own, which is cut into shards of full size."""
    full = len(earlier.positions) == len(earlier.job.shards[0])
    return later.job is earlier.job and full and not (later.trial or earlier.trial)


@dataclass(frozen=True)
class _Refused:
    """Stands for a sample that must not be touched again."""

    id: str
    reason: str

    def decode(self) -> Any:
        raise UnreadableSample(self.reason)
