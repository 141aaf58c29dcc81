"""What a plan would cost: how much of each job the store holds, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ibench.engine.plan import Job, work_of
from ibench.engine.store import EmbeddingStore
from ibench.hashing import sha256_json


@dataclass(frozen=True)
class PlannedJob:
    """One embedding job: ``samples`` in all, ``held`` of them in the store, ``seconds`` for the rest if it is known."""

    title: str
    modality: str
    samples: int
    held: int
    seconds: float | None


def planned(jobs: Sequence[Job], store: EmbeddingStore) -> list[PlannedJob]:
    """The jobs with what the store holds; the time is reckoned from how fast jobs of the same kind went."""
    rates = {sha256_json(work_of(entry.identity)): entry.rate for entry in reversed(store.entries()) if entry.rate}
    return [_planned(job, store.missing(job), rates.get(sha256_json(work_of(job.identity)))) for job in jobs]


def _planned(job: Job, missing: Iterable[int], rate: float | None) -> PlannedJob:
    left = sum(len(job.shards[number]) for number in missing)
    seconds = 0.0 if not left else left / rate if rate else None
    return PlannedJob(job.title, str(job.modality), len(job.items), len(job.items) - left, seconds)
