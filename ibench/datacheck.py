"""Whether a copy of a data set is whole: what is found, missing and unreadable, against what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ibench.cells import bind
from ibench.datasets import Dataset, open_dataset
from ibench.engine.encode import Progress
from ibench.engine.local import DecodePool, Piece, Unreadable
from ibench.errors import IbenchError
from ibench.modalities import Modality, RawSample, Video
from ibench.tasks import TaskSpec


@dataclass(frozen=True)
class DataReport:
    """A task's copy on disk, if there is one; ``unreadable`` is id → reason, None where nothing was decoded.

    ``problem`` says what keeps the copy from being whole, or a run from taking it; else it is empty. A copy that
    lists fewer samples than the publisher's has no fault: many are made of what could still be downloaded.
    """

    spec: TaskSpec
    dataset: Dataset | None
    unreadable: Mapping[Modality, Mapping[str, str]] | None
    problem: str

    def expected(self, modality: Modality) -> int | None:
        """How many items of a modality the publisher's copy has, where the task says so."""
        if self.spec.pooled:  # its count is of the queries, which are drawn
            return None
        reverse = self.spec.headline.startswith("reverse_")
        return self.spec.dataset.count if modality is (self.spec.target if reverse else self.spec.query) else None


def check(spec: TaskSpec, data_root: Path | None, workers: int, decode: bool, progress: Progress) -> DataReport:
    """Look at a task's local copy; every sample is decoded unless ``decode`` is false. Nothing is downloaded."""
    local = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"hub": None})})
    try:
        dataset = open_dataset(local, data_root)
    except IbenchError as error:
        return DataReport(spec, None, None, str(error))
    unreadable = _unreadable(dataset, workers, progress) if decode else None
    counts = {"missing": len(dataset.missing), "unreadable": sum(map(len, (unreadable or {}).values()))}
    faults = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    told = [f"{spec.name}: {faults}"] if faults else []
    refusal = _refusal(spec, dataset)
    return DataReport(spec, dataset, unreadable, "; ".join([*told, refusal] if refusal else told))


def _refusal(spec: TaskSpec, dataset: Dataset) -> str:
    """Why a run would not take a copy: a label that the task does not list, a class too few for its names."""
    try:
        bind(spec, dataset, protocol=None, prompts=None, limit=None)
    except IbenchError as error:
        return str(error)
    return ""


def _unreadable(dataset: Dataset, workers: int, progress: Progress) -> dict[Modality, dict[str, str]]:
    found: dict[Modality, dict[str, str]] = {}
    with DecodePool(workers) as pool:
        for modality, items in dataset.items.items():
            if modality is Modality.TEXT:
                continue
            progress.start(f"decoding {modality}", len(items))
            found[modality] = {}
            look = _middle_frame if modality is Modality.VIDEO else _whole
            for item, outcome in zip(items, pool.stream([Piece(items, look)]), strict=True):
                if isinstance(outcome, Unreadable):
                    found[modality][item.id] = outcome.reason
                progress.advance(1)
    return found


def _whole(sample: RawSample) -> Tensor:
    """Nothing of the sample: that it could be decoded is enough."""
    return torch.empty(1, 0)


def _middle_frame(video: Video) -> Tensor:
    """A video decodes only what it is asked for."""
    video.frames([video.frame_times[len(video.frame_times) // 2]])
    return torch.empty(1, 0)
