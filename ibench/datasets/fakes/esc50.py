"""ESC-50 in little: clips of twelve classes, one of them damaged, and one listed that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table
from ibench.tasks import TaskSpec

_CLASSES = ("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow", "sea_waves", "siren")
_CLIPS = 11  # so that eight of a class lie beside each fold, for few-shot tasks
_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def write(spec: TaskSpec, place: Path) -> None:
    """``audio/{fold}-{source}-{take}-{target}.wav``, 44.1 kHz mono, and ``meta/esc50.csv``; targets are 0 … 11."""
    write_clips(place, _CLASSES)


def write_clips(place: Path, classes: Sequence[str]) -> None:
    """The same for any classes."""
    rng = np.random.default_rng(0)
    rows = []
    for target, category in enumerate(classes):
        for clip in range(_CLIPS):
            fold, source = 1 + (target + clip) % 5, 100_000 + 17 * target + clip
            name = f"{fold}-{source}-A-{target}.wav"
            rows.append((name, fold, target, category, target < 5, source, "A"))
            if (target, clip) == (0, 0):
                damaged(place / "audio" / name)
            elif (target, clip) != (1, 0):  # listed, and not there
                sound(place / "audio" / name, rng, seconds=0.25, rate=44_100)
    rng.shuffle(rows)
    table(place / "meta" / "esc50.csv", [_COLUMNS, *rows])
