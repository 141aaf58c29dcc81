"""GTZAN: ``genres/<genre>/<genre>.00000.wav`` (marsyas.info), or ``genres_original/`` in the copy on Kaggle.

1,000 excerpts of 30 s, 22.05 kHz mono, 100 of each of ten genres. ``jazz.00054.wav`` of the Kaggle copy cannot be
decoded. B. Sturm (arXiv 1306.1461) lists its repetitions and wrong labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ibench.datasets import folder
from ibench.datasets.base import Dataset
from ibench.errors import IbenchError
from ibench.tasks import TaskSpec

MARKER = ("genres", "genres_original", "Data/genres_original")


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The excerpts, labelled with their folder. Raises IbenchError when there is none."""
    places = [root / name for name in MARKER if (root / name).is_dir()]
    if not places:
        raise IbenchError(f"{spec.name}: {root} holds no folder {' or '.join(MARKER)}")
    return replace(folder.read(spec, places[0]), copy="GTZAN folder")
