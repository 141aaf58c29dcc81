"""GTZAN in little, as on Kaggle: two excerpts of its ten genres, and jazz.00054, which cannot be decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound
from ibench.tasks import TaskSpec


def write(spec: TaskSpec, place: Path) -> None:
    """``genres_original/<genre>/<genre>.00000.wav``, 22.05 kHz mono, and a leftover of macOS beside one of them."""
    rng = np.random.default_rng(0)
    for genre in spec.labels or ():
        for number in range(2):
            sound(place / "genres_original" / genre / f"{genre}.{number:05d}.wav", rng, rate=22_050)
    damaged(place / "genres_original" / "jazz" / "jazz.00054.wav")
    damaged(place / "genres_original" / "jazz" / "._jazz.00000.wav")
