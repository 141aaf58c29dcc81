"""Clotho in little: twelve sounds of five captions under Freesound's names, one damaged, one not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table
from ibench.tasks import TaskSpec

_NAMES = (
    "Santa Motor.wav",
    "20110417_river.mono.wav",
    "Radio Garble.wav",
    "Fabric, Zipper; Various.wav",
    "OrchestraTuning 'A'.wav",
    "Café near the sea.wav",
    "Blade_Big #2.wav",
    "rain (on) tent & leaves.wav",
    "01862 heavy machine working.wav",
    "Steps Over Snow 50%.wav",
    "a door - 3.wav",
    "ulrich.wav",
)


def write(spec: TaskSpec, place: Path) -> None:
    """``evaluation/*.wav``, 44.1 kHz, captions in UTF-8 and metadata in Latin-1."""
    rng = np.random.default_rng(0)
    captions = [("file_name", *(f"caption_{number}" for number in range(1, 6)))]
    metadata = [("file_name", "keywords", "sound_id", "sound_link", "start_end_samples", "manufacturer", "license")]
    for row, name in enumerate(_NAMES):
        captions.append((name, *(f'Sound {row} is "described", time {number}.' for number in range(1, 6))))
        metadata.append((name, "noise;white", str(1000 + row), "", "[0, 44100]", "André", "CC0"))
        if row == 2:
            damaged(place / "evaluation" / name)
        elif row != 7:
            sound(place / "evaluation" / name, rng, rate=44_100)
    table(place / "clotho_captions_evaluation.csv", captions)
    table(place / "clotho_metadata_evaluation.csv", metadata, "latin-1")
