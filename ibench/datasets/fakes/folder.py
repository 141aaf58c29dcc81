"""Class subfolders in little: three files of noise for each label of the task, the first of all damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture, sound, video
from ibench.errors import IbenchError
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

_FILES = 3
_SUFFIXES = {Modality.IMAGE: "jpg", Modality.THERMAL: "jpg", Modality.AUDIO: "wav", Modality.VIDEO: "mp4"}


def write(spec: TaskSpec, place: Path) -> None:
    """``<label>/<label> <number>.<suffix>``, of the query's modality."""
    suffix = _SUFFIXES.get(spec.query)
    if suffix is None or not spec.labels:
        raise IbenchError(f"{spec.name}: a miniature of class folders needs 'labels', and {', '.join(_SUFFIXES)}")
    rng = np.random.default_rng(0)
    files = [place / label / f"{label} {number}.{suffix}" for label in spec.labels for number in range(_FILES)]
    damaged(files[0])
    for file in files[1:]:
        if spec.query is Modality.AUDIO:
            sound(file, rng)
        elif spec.query is Modality.VIDEO:
            video(file, rng)
        else:
            picture(file, rng, mode="L" if spec.query is Modality.THERMAL else "RGB")
