"""The stream: decode, batch, encode, average the views, keep the shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ibench.engine.local import DecodePool, Prepare, Unreadable
from ibench.engine.plan import Job, Share
from ibench.engine.store import Embeddings, EmbeddingStore
from ibench.errors import IbenchError

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
    """Where a run says how far it is, and what people should know of it."""

    def start(self, title: str, total: int) -> None: ...

    def advance(self, samples: int) -> None: ...

    def note(self, text: str) -> None: ...


def encode_missing(
    jobs: Sequence[Job],
    store: EmbeddingStore,
    open_encoder: Callable[[], EncodingModel],
    *,
    batch_size: int,
    workers: int,
    progress: Progress,
    share: Share = WHOLE,
) -> int:
    """Make the shards that the store lacks, or one process's share of them; nothing to make opens no encoder.

    Returns how many samples were encoded. A shard is kept as soon as it is finished, so an interrupted call goes
    on where it stopped. Raises IbenchError for an embedding that is not finite, naming its sample.
    """
    todo = _missing(jobs, store, share)
    if not todo:
        return 0
    encoder = open_encoder()
    with DecodePool(workers) as pool, torch.no_grad():
        return sum(_encode_job(job, missing, store, encoder, pool, batch_size, progress) for job, missing in todo)


def encode_rest(
    jobs: Sequence[Job],
    store: EmbeddingStore,
    open_encoder: Callable[[], EncodingModel],
    *,
    batch_size: int,
    workers: int,
    progress: Progress,
) -> int:
    """Make what other processes have not made yet, shard by shard from the end, until the store has all.

    What a process that died leaves undone is done here; at worst the shards that others work on just now are made
    twice, with the same bytes.
    """
    encoded = 0
    with DecodePool(workers) as pool, torch.no_grad():
        while todo := _missing(jobs, store, WHOLE):
            job, missing = todo[-1]
            encoded += _encode_job(job, missing[-1:], store, open_encoder(), pool, batch_size, progress)
    return encoded


def _missing(jobs: Sequence[Job], store: EmbeddingStore, share: Share) -> list[tuple[Job, list[int]]]:
    """The jobs with the shards that are not in the store and fall to a share, counted through the whole plan."""
    todo, before = [], 0
    for job in jobs:
        mine = [number for number in store.missing(job) if (before + number) % share.of == share.index]
        before += len(job.shards)
        todo += [(job, mine)] if mine else []
    return todo


def _encode_job(
    job: Job,
    missing: Sequence[int],
    store: EmbeddingStore,
    encoder: EncodingModel,
    pool: DecodePool,
    batch_size: int,
    progress: Progress,
) -> int:
    items = [job.items[position] for number in missing for position in job.shards[number]]
    progress.start(job.title, len(items))
    if job.by_id:
        return _look_up_job(job, missing, store, encoder, progress)
    started = time.monotonic()
    decoded = pool.stream(items, encoder.preprocess(job.modality, job.views), job.inline)
    for number in missing:
        rows = job.shards[number]
        store.write(job, number, _encode_shard(job, rows, decoded, encoder, batch_size))
        progress.advance(len(rows))
    store.note_rate(job, len(items) / (time.monotonic() - started))
    return len(items)


def _look_up_job(
    job: Job, missing: Sequence[int], store: EmbeddingStore, encoder: EncodingModel, progress: Progress
) -> int:
    """Shards of vectors that the encoder has already; all ids are asked for at once, so all missing ones are told."""
    if not isinstance(encoder, VectorsById):
        raise IbenchError(f"{job.title}: the encoder's card says by_id, but it has no vectors_by_id")
    rows = [job.shards[number] for number in missing]
    vectors = encoder.vectors_by_id(job.modality, [job.items[position].id for part in rows for position in part])
    for number, part, found in zip(missing, rows, torch.split(vectors, [len(part) for part in rows]), strict=True):
        _refuse_not_finite(job, part, found)
        store.write(job, number, Embeddings(found.cpu().numpy()))
        progress.advance(len(part))
    return len(vectors)


def _encode_shard(
    job: Job, rows: range, decoded: Iterator[Tensor | Unreadable], encoder: EncodingModel, batch_size: int
) -> Embeddings:
    unreadable: dict[int, str] = {}
    views_of: list[int] = []
    waiting: list[Tensor] = []
    encoded: list[Tensor] = []
    for position in range(len(rows)):
        sample = next(decoded)
        if isinstance(sample, Unreadable):
            unreadable[position] = sample.reason
            views_of.append(0)
            continue
        views_of.append(len(sample))
        waiting.append(sample)
        while sum(map(len, waiting)) >= batch_size:
            batch = torch.cat(waiting)
            encoded.append(_encoded(job, encoder, batch[:batch_size]))
            waiting = [batch[batch_size:]] if len(batch) > batch_size else []
    if waiting:
        encoded.append(_encoded(job, encoder, torch.cat(waiting)))
    vectors = _pooled(torch.cat(encoded), views_of) if encoded else torch.zeros(len(rows), 1)
    _refuse_not_finite(job, rows, vectors)
    return Embeddings(vectors.numpy(), unreadable)


def _encoded(job: Job, encoder: EncodingModel, batch: Tensor) -> Tensor:
    """A batch's vectors on the CPU; in halves where the memory of the device does not hold it whole."""
    try:
        return encoder.encode(job.modality, batch).cpu()
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        if len(batch) == 1:
            raise IbenchError(
                f"{job.title}: memory does not hold a single view ({str(error).splitlines()[0]})"
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the failed try left in pieces
    return torch.cat([_encoded(job, encoder, half) for half in batch.tensor_split(2)])


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)  # the latter on a CPU


def _pooled(views: Tensor, views_of: Sequence[int]) -> Tensor:
    """[sum(views_of), dim] → [len(views_of), dim]; a sample without views gets zeros."""
    owner = torch.repeat_interleave(torch.arange(len(views_of)), torch.tensor(views_of))
    sums = torch.zeros(len(views_of), views.shape[1]).index_add_(0, owner, views.float())
    return torch.nn.functional.normalize(sums, dim=1)


def _refuse_not_finite(job: Job, rows: range, vectors: Tensor) -> None:
    bad = (~torch.isfinite(vectors).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        names = ", ".join(repr(job.items[rows.start + position].id) for position in bad[:3])
        raise IbenchError(
            f"{job.title}: the encoder gave NaN or infinity for {len(bad)} of {len(rows)} samples, first {names}; "
            "try --dtype fp32, or look at these samples"
        )
