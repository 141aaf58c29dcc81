"""Shards made by the processes of a Ray cluster.

Each process (an actor) opens the encoder once and encodes what it is given, a few shards of one job at a time, so that
decoding runs ahead from one into the next. Their embeddings come back one by one to the process that was started by
hand. That one holds the queue and is the only one to write to the store: nodes need to see the data and the
checkpoint, not the store. An actor that dies is replaced; what that says of its samples is `attempts`' business.

Plain actors under a queue of our own rather than ray.data's map_batches over a pool of actors. With Ray 2.60 and a row
that kills its process, map_batches gave that row out again without end; with max_restarts=0 and max_task_retries=0 the
death ended the whole run, when 4 of 12 rows were done. Its max_errored_blocks drops rows, and a death does not say
which row was to blame. Here nothing is retried but by the queue, which knows that, and nothing is dropped.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ibench.engine.attempts import Attempt, Attempts, as_job
from ibench.engine.encode import (
    WHOLE,
    EncodingModel,
    Means,
    Progress,
    batch_size_of,
    encoded_shards,
    missing_shards,
    probed_batch_size,
    samples_of,
    settle_batch_size,
)
from ibench.engine.local import DecodePool
from ibench.engine.plan import Job, work_of
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError
from ibench.hashing import sha256_json

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise IbenchError('the engine "ray" needs Ray, which is not installed: pip install "ibench-eval[ray]"') from error

SHARD_LIMIT = 3600.0
"""Seconds a shard may take. A process that hangs holds its samples so long, and half of them half so long again."""

_STINT = 8  # shards an actor is given at a time: decoding pauses between two stints
_LEAST_PART = 16  # a trial of few samples has at least this part of a shard's time, as not all of it goes by samples
_PATIENCE = 30.0  # seconds until a run says that it waits for the cluster
_START_LIMIT = 1800.0  # seconds until the first actor is ready; a cluster may have to fetch a machine for it
_HOPELESS = 20  # deaths in a row, and two more for each actor; a node that goes takes all of its actors at once
_POLL = 0.5  # seconds between looks at limits; bounds how long Ctrl-C waits

T = TypeVar("T")


@dataclass(frozen=True)
class Cluster:
    """How a run uses the cluster: so many actors at most (None: by the cluster), so many seconds for a shard."""

    actors: int | None
    shard_limit: float

    def gpus(self) -> int:
        return int(ray.cluster_resources().get("GPU", 0))

    def ask(self, question: Callable[[], T], gpus: int) -> T:
        """The answer of a process of the cluster that has so many GPUs. What it raises is raised here."""
        asked = ray.remote(num_gpus=gpus, num_cpus=0, max_retries=0)(_answer).remote(question)
        try:
            return ray.get(asked, timeout=_START_LIMIT)  # type: ignore[no-any-return]
        except RayTaskError as error:
            raise _as_raised(error) from error
        except RayError as error:
            raise IbenchError(f"the Ray cluster does not answer: {_first_line(error)}") from error


@contextmanager
def connected() -> Iterator[None]:
    """Within, this process is part of the cluster at RAY_ADDRESS, else of one on this machine, else of a new one here.

    A connection that was there before stays as it is. Raises IbenchError where RAY_ADDRESS leads nowhere.
    """
    with redirect_stdout(_WithoutRay(sys.stdout)):
        if ray.is_initialized():
            yield
            return
        address = _address()
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (RayError, OSError, RuntimeError, ValueError) as error:
            raise IbenchError(f"cannot join or start Ray ({address}): {_first_line(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _address() -> str:
    """Where to connect to, or "local". Somebody has to listen there: Ray itself waits a quarter of an hour for that,
    and `ray start` leaves the address of a cluster that was killed."""
    asked = os.environ.get("RAY_ADDRESS", "")
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    address = asked if asked not in ("", "auto") else noted.read_text().strip() if noted.exists() else ""
    if address == "local" or (not asked and not _listens(address)):
        return "local"
    if not _listens(address):
        raise IbenchError(
            f"no Ray cluster at RAY_ADDRESS={asked}: name a running one by HOST:PORT (ibench runs on its nodes), or "
            "unset RAY_ADDRESS and ibench starts Ray on this machine"
        )
    return address


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return True
    except (OSError, ValueError):
        return False


class _WithoutRay(io.TextIOBase):
    """stdout, which carries results, without what Ray's threads print there of each actor that died."""

    def __init__(self, out: io.TextIOBase | Any) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._out.write(text)

    def flush(self) -> None:
        self._out.flush()


def encode_on(
    cluster: Cluster,
    jobs: Sequence[Job],
    store: EmbeddingStore,
    open_encoder: Callable[[], EncodingModel],
    means: Means,
    gpus: int,
    progress: Progress,
) -> int:
    """Make the shards that the store lacks with actors that have ``gpus`` GPUs each; returns how many samples.

    ``open_encoder`` is picklable and is called in each actor. A shard is kept as soon as it is here, so an
    interrupted call goes on where it stopped. A sample that no process survives, or that takes longer than the limit
    of a shard allows, is recorded as unreadable. Raises IbenchError as `encode_missing` does, and when processes die
    whatever they are given.
    """
    todo = missing_shards(jobs, store, WHOLE)
    if not todo:
        return 0
    run = _Run(cluster, store, open_encoder, means, gpus, progress)
    return run.finish(todo)


class _Encoding:
    """What runs in an actor: an encoder and decode workers of its own."""

    def __init__(self, folder: str, path: Sequence[str], environment: dict[str, str]) -> None:
        """As if started where the run was: relative paths, the folder of a factory, the cache."""
        with suppress(OSError):  # a node need not have that folder if no path is relative
            os.chdir(folder)
        sys.path += [place for place in path if place not in sys.path]
        os.environ.update(environment)

    def open(self, open_encoder: Callable[[], EncodingModel], workers: int, threads: int) -> None:
        torch.set_num_threads(threads)  # sums in another number of threads would round otherwise
        self.encoder = open_encoder()
        self.pool = DecodePool(max(1, workers))  # at least one: a decoder that crashes then costs a sample only

    def encode(self, job: Job, size: int | None, in_pinned_memory: bool) -> Iterator[int | Embeddings]:
        """The views per batch, probed where ``size`` leaves that open, and then the shards."""
        chosen = size or probed_batch_size(job, self.encoder, self.pool)
        yield chosen
        todo = [(job, range(len(job.shards)))]
        yield from encoded_shards(todo, self.encoder, self.pool, {job.key: chosen}, in_pinned_memory, _say_nothing)


def _surroundings() -> dict[str, Any]:
    cache = {name: os.environ[name] for name in ("IBENCH_CACHE",) if name in os.environ}
    return {"folder": os.getcwd(), "path": list(sys.path), "environment": cache}


@dataclass(eq=False)
class _Stint:
    """What an actor was given, with what is left of it; ``limit`` seconds for each, until ``deadline`` the first."""

    actor: Any
    left: list[Attempt]
    limit: float
    deadline: float


@dataclass(eq=False)
class _Run:
    """A run on the cluster: actors that open the encoder, that have nothing to do, and that have a stint."""

    cluster: Cluster
    store: EmbeddingStore
    open_encoder: Callable[[], EncodingModel]
    means: Means
    gpus: int
    progress: Progress
    encoded: int = 0
    deaths: int = 0  # since something was made
    told: bool = False
    held: dict[str, list[tuple[Job, Sequence[int]]]] = field(default_factory=dict)  # until their batch size is probed
    opening: dict[Any, tuple[Any, float]] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    busy: dict[Any, _Stint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.progress.note)
        self.most = self.cluster.actors or max(1, self.cluster.gpus() if self.gpus else _nodes())

    def finish(self, todo: Sequence[tuple[Job, Sequence[int]]]) -> int:
        total = samples_of(todo)
        self.progress.start(f"{len(todo)} jobs on Ray", total)
        for job, numbers in todo:
            self._plan(job, numbers)
        try:
            while self.attempts.unfinished:
                self._hire()
                self._hand_out()
                for one in self._ready():
                    self._hear(one)
                self._end_what_is_late()
        finally:
            for actor in [
                *self.idle,
                *(actor for actor, _ in self.opening.values()),
                *(stint.actor for stint in self.busy.values()),
            ]:
                ray.kill(actor)
        return self.encoded

    def _plan(self, job: Job, numbers: Sequence[int]) -> None:
        """Into the queue; where a batch size is to be probed, the shard whose last sample it is probed with goes first,
        and others wait for the answer, since another size could give other last bits."""
        if self._size(job) is not None:
            self.attempts.add(job, numbers)
            return
        held = self.held.setdefault(_kind(job), [])
        first = [] if held else [numbers[-1]]
        self.attempts.add(job, first)
        held.append((job, numbers[: len(numbers) - len(first)]))

    def _size(self, job: Job) -> int | None:
        return self.means.batch_size or batch_size_of(job, self.store)

    def _hire(self) -> None:
        wanted = min(self.most, self.attempts.waiting + len(self.busy))
        for _ in range(wanted - len(self.opening) - len(self.idle) - len(self.busy)):
            actor = _Actor.options(**({"num_gpus": self.gpus, "num_cpus": 0} if self.gpus else {})).remote(
                **_surroundings()
            )
            opened = actor.open.remote(self.open_encoder, self.means.workers, torch.get_num_threads())
            self.opening[opened] = (actor, time.monotonic())

    def _hand_out(self) -> None:
        while self.idle:
            fair = self.attempts.waiting // (2 * self.most)  # near the end less, so that all end at a time
            given = self.attempts.take(max(1, min(_STINT, fair)))
            if not given:
                return
            actor = self.idle.pop()
            made = actor.encode.remote(as_job(given), self._size(given[0].job), self.means.pinned)
            part = len(given[0].positions) / len(given[0].job.shards[given[0].number])
            limit = self.cluster.shard_limit * max(part, 1 / _LEAST_PART)
            self.busy[made] = _Stint(actor, given, limit, time.monotonic() + limit)

    def _ready(self) -> list[Any]:
        ready, _ = ray.wait([*self.opening, *self.busy], timeout=_POLL)
        return ready  # type: ignore[no-any-return]

    def _hear(self, one: Any) -> None:
        """What an actor that opened the encoder, made a shard, came to the end of its stint or died has to tell."""
        try:
            if one in self.opening:
                ray.get(one)
                self.idle.append(self.opening.pop(one)[0])
            else:
                self._take(self.busy[one], ray.get(next(one)))
        except StopIteration:
            self.idle.append(self.busy.pop(one).actor)
        except RayTaskError as error:
            raise _as_raised(error) from error
        except RayError as error:
            self._replace(one, "encoding crashed its process", _first_line(error))

    def _take(self, stint: _Stint, made: int | Embeddings) -> None:
        attempt = stint.left[0]
        if isinstance(made, int):
            self._settle(attempt.job, made)
            return
        self.deaths = 0
        if not attempt.trial:
            self.store.write(attempt.job, attempt.number, made)
            self.encoded += len(made.vectors)
            self.progress.advance(len(made.vectors))
        self.attempts.made(stint.left.pop(0))
        stint.deadline = time.monotonic() + stint.limit

    def _settle(self, job: Job, size: int) -> None:
        if self._size(job) is None:
            settle_batch_size(job, self.store, size)
        for later, numbers in self.held.pop(_kind(job), []):
            self.attempts.add(later, numbers)

    def _replace(self, one: Any, how: str, why: str, sure: bool = False) -> None:
        """Count an actor as dead, see that it is, and give what it had to others."""
        stint = self.busy.pop(one) if one in self.busy else _Stint(self.opening.pop(one)[0], [], 0, 0)
        ray.kill(stint.actor)
        self.deaths += 1
        if self.deaths > _HOPELESS + 2 * self.most:
            raise IbenchError(f"{self.deaths} processes of the Ray cluster died in a row, whatever they did: {why}")
        if stint.left:
            self.attempts.give_back(stint.left[1:])
            self.attempts.failed(stint.left[0], how, sure)

    def _end_what_is_late(self) -> None:
        now = time.monotonic()
        for made, stint in list(self.busy.items()):
            if stint.left and now > stint.deadline:
                limit = f"encoding was not done after {stint.limit:g} s"
                self._replace(made, limit, limit, sure=True)
        if self.opening and not self.busy:
            self._wait_for_actors(now - min(since for _, since in self.opening.values()))

    def _wait_for_actors(self, waited: float) -> None:
        needs = f"each needs {self.gpus} GPU" if self.gpus else "each needs a node with CPUs"
        state = f"no process of the Ray cluster is ready after {waited:.0f} s; {needs}, and others may have them all"
        if waited > _START_LIMIT:
            raise IbenchError(state)
        if waited > _PATIENCE and not self.told:
            self.told = True
            self.progress.note(state)


_Actor = ray.remote(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(_Encoding)


def _kind(job: Job) -> str:
    return sha256_json(work_of(job.identity))


def _nodes() -> int:
    """Nodes that run something: on a CPU an actor has a whole one, since it computes with as many threads as a run
    without Ray, for the same bits."""
    return sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))


def _answer(question: Callable[[], T]) -> T:
    return question()


def _say_nothing(_: str) -> None: ...


def _as_raised(error: RayTaskError) -> Exception:
    """What was raised in another process, as it would have been raised in this one; a bug with its traceback there."""
    return error.cause if isinstance(error.cause, IbenchError) else error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
