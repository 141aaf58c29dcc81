"""The stream: decode, batch, encode, average the views, keep the shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ibench.engine.batches import Batch, ahead, batches, pinned
from ibench.engine.batching import WithinMemory, probed
from ibench.engine.local import DecodePool, Piece, Prepare
from ibench.engine.plan import Job, Share, work_of
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError, NotFinite

POOLING = "mean of unit views, then unit length"
"""How the views of a sample become one vector (part of every key)."""


WHOLE = Share()


class EncodingModel(Protocol):
    """What the engine asks of an encoder."""

    def preprocess(self, modality: Any, views: Mapping[str, Any]) -> Prepare: ...

    def encode(self, modality: Any, batch: Tensor) -> Tensor: ...


@runtime_checkable
class VectorsById(Protocol):
    """What the engine asks of an encoder instead, for a job marked ``by_id``."""

    def vectors_by_id(self, modality: Any, ids: Sequence[str]) -> Tensor: ...


class Progress(Protocol):
    """Where a run says how far it is, and what people should know of it.

    ``plan`` tells what all jobs to come hold, ``start`` and ``advance`` go through them one after the other.
    """

    def plan(self, jobs: int, samples: int) -> None: ...

    def start(self, title: str, total: int) -> None: ...

    def advance(self, samples: int) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Means:
    """What a run encodes with: views per batch (None: probed once for each kind of job and kept in the store),
    decode processes and whether they are forked, and whether batches are made ahead, in memory from which a GPU copies
    while it computes."""

    batch_size: int | None = 64
    workers: int = 0
    pinned: bool = False
    forked: bool = False


def encode_missing(
    jobs: Sequence[Job],
    store: EmbeddingStore,
    open_encoder: Callable[[], EncodingModel],
    means: Means,
    progress: Progress,
    share: Share = WHOLE,
) -> int:
    """Make the shards that the store lacks, or one process's share of them; nothing to make opens no encoder.

    Returns how many samples were encoded. A shard is kept as soon as it is finished, so an interrupted call goes
    on where it stopped. Raises NotFinite for an embedding that is not finite, naming its sample.
    """
    todo = missing_shards(jobs, store, share)
    if not todo:
        return 0
    encoder = open_encoder()
    progress.plan(len(todo), samples_of(todo))
    with DecodePool(means.workers, forked=means.forked) as pool:
        return encode_shards(todo, store, encoder, pool, means, progress)


def encode_rest(
    jobs: Sequence[Job],
    store: EmbeddingStore,
    open_encoder: Callable[[], EncodingModel],
    means: Means,
    progress: Progress,
) -> int:
    """Make what other processes have not made yet, shard by shard from the end, until the store has all.

    What a process that died leaves undone is done here; at worst the shards that others work on just now are made
    twice, with the same bytes.
    """
    encoded = 0
    with DecodePool(means.workers, forked=means.forked) as pool:
        for job in reversed(jobs):
            while missing := store.missing(job):
                encoded += encode_shards([(job, missing[-1:])], store, open_encoder(), pool, means, progress)
    return encoded


def missing_shards(jobs: Sequence[Job], store: EmbeddingStore, share: Share) -> list[tuple[Job, list[int]]]:
    """The jobs with the shards that are not in the store and fall to a share.

    To which one a shard falls its job says alone: a process that starts later may find other texts encoded already, and
    would count the shards of a plan in another way.
    """
    todo = []
    for job in jobs:
        first = int(job.key[:8], 16)
        mine = [number for number in store.missing(job) if (first + number) % share.of == share.index]
        todo += [(job, mine)] if mine else []
    return todo


def samples_of(todo: Sequence[tuple[Job, Sequence[int]]]) -> int:
    """How many samples some shards of some jobs hold."""
    return sum(len(job.shards[number]) for job, numbers in todo for number in numbers)


@torch.no_grad()
def encode_shards(
    todo: Sequence[tuple[Job, Sequence[int]]],
    store: EmbeddingStore,
    encoder: EncodingModel,
    pool: DecodePool,
    means: Means,
    progress: Progress,
) -> int:
    """Make some shards of some jobs, in order; returns how many samples they hold."""
    known = [(job, numbers) for job, numbers in todo if job.by_id]
    streamed = [(job, numbers) for job, numbers in todo if not job.by_id]
    for job, numbers in known:
        _look_up(job, numbers, store, encoder, progress)
    _stream(streamed, store, encoder, pool, means, progress)
    return samples_of(todo)


def _look_up(
    job: Job, numbers: Sequence[int], store: EmbeddingStore, encoder: EncodingModel, progress: Progress
) -> None:
    """Shards of vectors that the encoder has already; all ids are asked for at once, so all missing ones are told."""
    if not isinstance(encoder, VectorsById):
        raise IbenchError(f"{job.title}: the encoder's card says by_id, but it has no vectors_by_id")
    ids = [item.id for number in numbers for item in job.items_of(number)]
    progress.start(job.title, len(ids))
    vectors = encoder.vectors_by_id(job.modality, ids)
    sizes = [len(job.shards[number]) for number in numbers]
    for number, found in zip(numbers, torch.split(vectors, sizes), strict=True):
        store.write(job, number, _finite(job, number, found))
        progress.advance(len(found))


def _stream(
    todo: Sequence[tuple[Job, Sequence[int]]],
    store: EmbeddingStore,
    encoder: EncodingModel,
    pool: DecodePool,
    means: Means,
    progress: Progress,
) -> None:
    size_of = {job.key: _batch_size(job, store, encoder, pool, means) for job, _ in todo}
    with closing(encoded_shards(todo, encoder, pool, size_of, means.pinned, progress.note)) as shards:
        for job, numbers in todo:
            _keep(job, numbers, shards, store, progress)


@torch.no_grad()
def encoded_shards(
    todo: Sequence[tuple[Job, Sequence[int]]],
    encoder: EncodingModel,
    pool: DecodePool,
    size_of: Mapping[str, int],
    in_pinned_memory: bool,
    tell: Callable[[str], None],
) -> Generator[Embeddings]:
    """The shards of some jobs in order, by one stream: what is decoded and batched next may be of the next job."""
    decoded = pool.stream(_piece(job, numbers, encoder) for job, numbers in todo)
    ready = batches(((job, number) for job, numbers in todo for number in numbers), decoded, size_of)
    with closing(ahead(pinned(ready)) if in_pinned_memory else ready) as stream:
        for job, numbers in todo:
            forward = WithinMemory(partial(encoder.encode, job.modality), job.title, size_of[job.key])
            for number in numbers:
                shard = _encoded(stream, forward)
                if number == numbers[-1] and forward.largest < size_of[job.key]:
                    tell(f"{job.title}: memory held {forward.largest} views at a time, not {size_of[job.key]}")
                yield shard


def _piece(job: Job, numbers: Sequence[int], encoder: EncodingModel) -> Piece:
    items = [item for number in numbers for item in job.items_of(number)]
    return Piece(items, encoder.preprocess(job.modality, job.views), job.inline)


def batch_size_of(job: Job, store: EmbeddingStore) -> int | None:
    """How many views go into a batch of jobs such as this one where nobody says; None while it was not probed."""
    size: int | None = store.settled(_size_question(job))
    return size


def _batch_size(job: Job, store: EmbeddingStore, encoder: EncodingModel, pool: DecodePool, means: Means) -> int:
    """As asked for; else as it was probed once, by whichever process came first."""
    if means.batch_size is not None:
        return means.batch_size
    size = batch_size_of(job, store)
    return size or settle_batch_size(job, store, probed_batch_size(job, encoder, pool))


def settle_batch_size(job: Job, store: EmbeddingStore, size: int) -> int:
    """Keep a probed size for all jobs such as this one; the first that was kept stands, and is returned."""
    return int(store.settle(_size_question(job), size))


def _size_question(job: Job) -> dict[str, Any]:
    return {"batch size": work_of(job.identity)}


@torch.no_grad()
def probed_batch_size(job: Job, encoder: EncodingModel, pool: DecodePool) -> int:
    """Probed with the last sample that can be read: texts are in order of length, and the longest takes most memory."""
    prepare = encoder.preprocess(job.modality, job.views)
    samples = pool.stream(Piece([item], prepare, job.inline) for item in reversed(job.items))
    readable = (sample for sample in samples if isinstance(sample, Tensor))
    with closing(readable):
        sample = next(readable, None)
    return 1 if sample is None else probed(partial(encoder.encode, job.modality), sample[:1])


def _keep(
    job: Job, numbers: Sequence[int], shards: Iterator[Embeddings], store: EmbeddingStore, progress: Progress
) -> None:
    total = samples_of([(job, numbers)])
    progress.start(job.title, total)
    started = time.monotonic()
    for number in numbers:
        store.write(job, number, next(shards))
        progress.advance(len(job.shards[number]))
    store.note_rate(job, total / (time.monotonic() - started))


def _encoded(stream: Iterator[Batch], forward: WithinMemory) -> Embeddings:
    """The next shard of a stream. Vectors stay on the device until its end, so that the device need not wait."""
    encoded: list[Tensor] = []
    for batch in stream:
        if batch.views is not None:
            encoded.append(forward(batch.views))
        if batch.last:
            break
    shard = batch.shard
    vectors = _pooled(torch.cat(encoded).cpu(), shard.views_of) if encoded else torch.zeros(len(shard.views_of), 1)
    return _finite(shard.job, shard.number, vectors, shard.unreadable)


def _pooled(views: Tensor, views_of: Sequence[int]) -> Tensor:
    """[sum(views_of), dim] → [len(views_of), dim]; a sample without views gets zeros."""
    owner = torch.repeat_interleave(torch.arange(len(views_of)), torch.tensor(views_of))
    sums = torch.zeros(len(views_of), views.shape[1]).index_add_(0, owner, views.float())
    return torch.nn.functional.normalize(sums, dim=1)


def _finite(job: Job, number: int, vectors: Tensor, unreadable: Mapping[int, str] | None = None) -> Embeddings:
    """A shard to keep. Raises NotFinite for one that holds NaN or infinity."""
    bad = (~torch.isfinite(vectors).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        items = job.items_of(number)
        names = ", ".join(repr(items[position].id) for position in bad[:3])
        raise NotFinite(
            f"{job.title}: the encoder gave NaN or infinity for {len(bad)} of {len(items)} samples, first {names}; "
            "try --dtype fp32, or look at these samples"
        )
    return Embeddings(vectors.cpu().numpy(), dict(unreadable or {}))
