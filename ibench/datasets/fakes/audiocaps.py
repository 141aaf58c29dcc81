"""AudioCaps in little: twelve clips of five captions, rows shuffled, one damaged, one not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, sound, table, video, video_id
from ibench.tasks import TaskSpec


def write(spec: TaskSpec, place: Path) -> None:
    """``dataset/test.csv``, and sounds in ``audio/`` under downloaders' names, one of them inside a video."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        clip, start = video_id(rng, number), 10 * (number % 4)
        rows += [
            (103_549 + 5 * number + caption, clip, start, f"Sound {number}, described a {caption}. time")
            for caption in range(5)
        ]
        if number == 3:
            damaged(place / "audio" / f"Y{clip}.wav")
        elif number == 4:
            video(place / "audio" / f"{clip}_{start:06d}.mp4", rng, with_sound=True)
        elif number != 8:
            sound(place / "audio" / f"{clip}_{start}.wav", rng)
    rng.shuffle(rows)
    table(place / "dataset" / "test.csv", [("audiocap_id", "youtube_id", "start_time", "caption"), *rows])
