"""ActivityNet Captions in little: twelve videos, one damaged, one not there, and an id of the second validation set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, video
from ibench.tasks import TaskSpec


def write(spec: TaskSpec, place: Path) -> None:
    """``Activity_Videos/v_<id>.mp4`` (some mkv, some without ``v_``), ``val_ids.json`` and ``val_1.json``."""
    rng = np.random.default_rng(0)
    described = {}
    for number in range(12):
        id = f"{'-_'[number % 2]}uJ{number:02d}OUVo_1{number}"
        described[f"v_{id}"] = {
            "duration": 82.73 + number,
            "timestamps": [[0.83, 19.86], [17.37, 60.81]],
            "sentences": [f"A person is seen with thing {number}.", f" They then show how thing {number} works."],
        }
        stem, suffix = id if number == 3 else f"v_{id}", "mkv" if number == 4 else "mp4"
        file = place / "Activity_Videos" / f"{stem}.{suffix}"
        if number == 0:
            damaged(file)
        elif number != 1:
            video(file, rng)
    (place / "val_1.json").write_text(json.dumps(described), encoding="utf-8")
    (place / "val_ids.json").write_text(json.dumps([*described, "v_of_val_2"]), encoding="utf-8")
