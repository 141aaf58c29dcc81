"""MSR-VTT 1k-A in little: twelve clips with sound, of which one has none, one is damaged, and one is not there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, video
from ibench.tasks import TaskSpec

_CAPTIONS = (
    "a person is connecting something to system",
    "a little girl does gymnastics, then bows",
    'a man says "hello" to a crowd',
    "cartoon characters run",
    "a woman creating a fondant baby and flower",
    "someone is folding paper",
    "a boy plays a game on a phone",
    "a band performs on a stage",
    "two men talk about cars",
    "a cook cuts an onion",
    "a dog runs on a beach",
    "a train leaves a station",
)
_DAMAGED, _ABSENT, _SILENT, _WAV = 0, 1, 2, 3


def write(spec: TaskSpec, place: Path) -> None:
    """``MSRVTT_JSFUSION_test.csv``, ``MSRVTT_Videos/video<N>.mp4``, and the sound of one as a wav file beside."""
    rng = np.random.default_rng(0)
    rows = []
    for number, caption in enumerate(_CAPTIONS):
        clip = 9770 - 7 * number
        rows.append((f"ret{number}", f"msr{clip}", f"video{clip}", caption))
        file = place / "MSRVTT_Videos" / f"video{clip}.mp4"
        if number == _DAMAGED:
            damaged(file)
        elif number != _ABSENT:
            video(file, rng, with_sound=number != _SILENT)
        if number == _WAV:
            sound(place / "MSRVTT_Audio" / f"video{clip}.wav", rng)
    with (place / "MSRVTT_JSFUSION_test.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("key", "vid_key", "video_id", "sentence"), *rows])
