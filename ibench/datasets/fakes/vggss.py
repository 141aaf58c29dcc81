"""VGG-SS in little: eight clips of four classes; one frame damaged, one sound and one frame not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture, sound, video_id
from ibench.tasks import TaskSpec

_CLASSES = ("dog barking", "playing cello", "tap dancing", "train whistling")
_BOXES = (
    [[0.0, 0.0, 0.5, 0.5]],
    [[0.25, 0.25, 0.75, 0.75]],
    [[0.5, 0.0, 1.0, 0.5]],
    [[0.0, 0.0, 0.5, 0.25], [0.0, 0.25, 0.5, 0.5]],
)


def write(spec: TaskSpec, place: Path) -> None:
    """``metadata/vggss.json``, ``frames/{id}_{start:06d}.jpg`` of two shapes, ``audio/{id}_{start:06d}.wav``."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(8):
        name = f"{video_id(rng, number)}_{10 * number:06d}"
        clips.append({"file": name, "class": _CLASSES[number % 4], "bbox": _BOXES[number % 4]})
        if number == 4:
            damaged(place / "frames" / f"{name}.jpg")
        elif number != 5:
            picture(place / "frames" / f"{name}.jpg", rng, (96, 54) if number % 2 else (64, 48))
        if number != 6:
            sound(place / "audio" / f"{name}.wav", rng)
    (place / "metadata").mkdir(parents=True, exist_ok=True)
    (place / "metadata" / "vggss.json").write_text(json.dumps(clips), encoding="utf-8")
