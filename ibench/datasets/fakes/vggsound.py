"""VGGSound in little: two test clips of eight classes as mp4; one mute, one damaged, one not there, one sound only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table, video, video_id
from ibench.tasks import TaskSpec

_CLASSES = (
    "ambulance siren",
    "bee, wasp, etc. buzzing",
    "dog barking",
    "male speech, man speaking",
    "playing hammond organ",
    "police car (siren)",
    "race car, auto racing",
    "tap dancing",
)


def write(spec: TaskSpec, place: Path) -> None:
    """``vggsound.csv`` (test and training clips), ``data/stat.csv``, and ``video/{id}_{start:06d}.mp4``."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        label, clip, start = _CLASSES[number % 8], video_id(rng, number), 10 * (number % 5)
        rows += [(clip, start, label, "test"), (video_id(rng, number), 30, label, "train")]
        name = f"{clip}_{start:06d}"
        if number == 2:
            damaged(place / "video" / f"{name}.mp4")
        elif number == 5:
            sound(place / "audio" / label / f"{name}.wav", rng)
        elif number != 9:
            video(place / "video" / f"{name}.mp4", rng, with_sound=number != 12)
    table(place / "vggsound.csv", rows)
    table(place / "data" / "stat.csv", [(label, 1050) for label in reversed(_CLASSES)])
