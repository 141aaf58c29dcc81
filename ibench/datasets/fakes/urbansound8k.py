"""UrbanSound8K in little: three slices of its ten classes at all its rates and depths, one damaged, one not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table
from ibench.tasks import TaskSpec

_CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)
_COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
_RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000)
_DEPTHS = ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "MS_ADPCM")


def write(spec: TaskSpec, place: Path) -> None:
    """``audio/fold{1..10}/{fsID}-{classID}-{occurrence}-{slice}.wav`` and ``metadata/UrbanSound8K.csv``."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(30):
        target, recording, fold = number % 10, 100_032 + number // 2, 1 + number % 10
        name = f"{recording}-{target}-0-{number}.wav"
        seconds = 0.05 + 0.05 * (number % 5)
        rows.append((name, recording, 0.0, seconds, 1, fold, target, _CLASSES[target]))
        file = place / "audio" / f"fold{fold}" / name
        if number == 4:
            damaged(file)
        elif number != 17:
            rate, depth = _RATES[number % len(_RATES)], _DEPTHS[number % len(_DEPTHS)]
            sound(file, rng, seconds, rate, channels=1 + number % 2, depth=depth)
    table(place / "metadata" / "UrbanSound8K.csv", [_COLUMNS, *rows])
