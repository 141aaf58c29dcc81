"""Runs whose outcomes a test chooses: a record and its rows on disk, as `ibench run` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ibench.modalities import Modality
from ibench.results import EncoderIdentity, Record, save
from ibench.scoring.intervals import Metric, proportion
from ibench.tasks import Kind

CLASSES = ("cat", "dog", "owl")


def write_run(folder: Path, hits: dict[str, np.ndarray], name: str = "one", **changed: object) -> Path:
    """A run of classification tasks of these hits; ``changed`` are fields of the records. Returns the folder."""
    for task, right in hits.items():
        rows = rows_of(right)
        metrics = {"top1": proportion(right, list(rows["cluster"]), 0)}
        save(record_of(task, metrics, name).model_copy(update=changed), rows, folder)
    return folder


def rows_of(right: np.ndarray, clusters: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows of a classification: the wrong ones are said to be the next class."""
    gold = np.arange(len(right)) % len(CLASSES)
    said = np.where(right, gold, (gold + 1) % len(CLASSES))
    return pd.DataFrame(
        {
            "id": [f"s{row}" for row in range(len(right))],
            "gold": [CLASSES[label] for label in gold],
            "prediction": [CLASSES[label] for label in said],
            "score": np.where(right, 0.9, 0.8).astype(np.float32),
            "rank": np.where(right, 1, 2),
            "correct": right,
            "cluster": list(clusters) if clusters is not None else [""] * len(right),
        }
    )


def record_of(task: str, metrics: dict[str, Metric], name: str) -> Record:
    headline = next(iter(metrics))
    return Record(
        encoder=EncoderIdentity(
            name=name, family="made", checkpoint_sha256=name.encode().hex().ljust(64, "0"),
            trained_pairs=((Modality.IMAGE, Modality.TEXT),), preprocessing={}, dim=4, licence="none",
        ),
        task=task, title=task, task_version=1, task_fingerprint="t", kind=Kind.CLASSIFICATION, protocol="ibench",
        prompts="p", texts_fingerprint="x", query=Modality.IMAGE, target=Modality.TEXT, emergent=False,
        headline=headline, metrics=metrics, ties="", chance=1 / 3, n=metrics[headline].n, n_expected=None, n_missing=0,
        n_unreadable=0, limited=None, fake=False, dataset_fingerprint="d", dataset_copy="here",
        dataset_licence="none", views={}, versions={}, device="cpu", dtype="fp32", batch_size=1, seed=0, timings={},
        encoded_per_second=None, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def flipped(right: np.ndarray, lost: int, won: int) -> np.ndarray:
    """The hits with so many of them lost, and so many misses won, the first ones of each."""
    after = right.copy()
    after[np.flatnonzero(right)[:lost]] = False
    after[np.flatnonzero(~right)[:won]] = True
    return after
