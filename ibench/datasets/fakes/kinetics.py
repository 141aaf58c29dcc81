"""Kinetics in little: two clips of twelve classes, one damaged, one not there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, video
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec

_CLASSES = 12


def write(spec: TaskSpec, place: Path) -> None:
    """``annotations/val.csv`` and ``val/<youtube>_<start>_<end>.mp4``; the classes are the task's, those with brackets
    first. Raises IbenchError for a task without labels."""
    if not spec.labels:
        raise IbenchError(f"{spec.name}: a miniature of Kinetics needs a task with labels")
    rng = np.random.default_rng(0)
    rows = []
    for number, label in enumerate(sorted(spec.labels, key=lambda label: ("(" not in label, label))[:_CLASSES]):
        for clip in range(2):
            youtube, start = f"-{number}a_{clip}Qz{number:04d}", 7 * number + clip
            rows.append((label, youtube, start, start + 10, "val", 0))
            file = place / "val" / f"{youtube}_{start:06d}_{start + 10:06d}.mp4"
            if (number, clip) == (0, 0):
                damaged(file)
            elif (number, clip) != (1, 0):
                video(file, rng)
    (place / "annotations").mkdir(parents=True, exist_ok=True)
    with (place / "annotations" / "val.csv").open("w", encoding="utf-8", newline="") as table:
        header = ("label", "youtube_id", "time_start", "time_end", "split", "is_cc")
        csv.writer(table).writerows([header, *rows])
