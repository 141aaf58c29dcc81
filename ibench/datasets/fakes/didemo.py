"""DiDeMo in little: twelve videos, one longer than 31 s, one damaged, one not there, one under another suffix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, video
from ibench.tasks import TaskSpec

_SUFFIXES = ("mp4", "mov", "avi", "m4v")


def write(spec: TaskSpec, place: Path) -> None:
    """``videos/<owner>@N0<n>_<photo>_<hash>.<suffix>``, ``test_list.txt`` and ``test_data.json``.

    The videos of the list are described in two to four entries each, those of one scattered over the file.
    """
    rng = np.random.default_rng(0)
    names, entries = [], []
    for number in range(12):
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        stem = f"{54_322_086 + 31 * number}@N0{number % 9}_{2_408_598_493 + number}_{number:010x}"
        names.append(f"{stem}.{suffix}")
        for part in range(2 + number % 3):
            times = [[part, part + number % 2]] * 4
            entries.append({"description": f"thing {number} in part {part}", "times": times, "video": names[-1]})
        file = place / "videos" / f"{stem}.{'mp4' if number == 3 else suffix}"
        if number == 0:
            damaged(file)
        elif number != 1:
            video(file, rng, seconds=33 if number == 2 else 1)
    shuffled = [entries[row] for row in rng.permutation(len(entries))]
    (place / "test_data.json").write_text(json.dumps(shuffled), encoding="utf-8")
    (place / "test_list.txt").write_text("\n".join(names), encoding="utf-8")
