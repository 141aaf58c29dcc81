"""What a plan would cost: how much of each job the store holds, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ibench.engine.plan import Job
from ibench.engine.store import EmbeddingStore

_SAME_WORK = ("checkpoint", "modality", "views", "dtype", "device")
"""The parts of a job's identity that say how fast it goes."""


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
    rates = {_work(entry.identity): entry.rate for entry in reversed(store.entries()) if entry.rate}
    return [_planned(job, store.missing(job), rates.get(_work(job.identity))) for job in jobs]


def _planned(job: Job, missing: Iterable[int], rate: float | None) -> PlannedJob:
    left = sum(len(job.shards[number]) for number in missing)
    seconds = 0.0 if not left else left / rate if rate else None
    return PlannedJob(job.title, str(job.modality), len(job.items), len(job.items) - left, seconds)


def _work(identity: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(identity.get(part)) for part in _SAME_WORK)
