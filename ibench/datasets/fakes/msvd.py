"""MSVD in little: eleven clips of eight YouTube videos with two to four captions, one damaged, one not there."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, video
from ibench.tasks import TaskSpec

_CLIPS = 11
_SUBJECTS = (
    "a man",
    "two women",
    "a cat",
    "the dog",
    "someone",
    "a boy",
    "a baker",
    "an elephant",
    "they",
    "he",
    "she",
)
_ACTIONS = ("is cooking", "slices a potato", "plays the guitar", "is running")


def write(spec: TaskSpec, place: Path) -> None:
    """``MSVD_Videos/<youtube>_<start>_<end>.avi``, three lists, and ``raw-captions.pkl`` with captions as words."""
    rng = np.random.default_rng(0)
    captions, names = {}, []
    for clip, subject in zip(range(_CLIPS), _SUBJECTS, strict=True):
        name = f"-{clip % 8}wsuPC_DBc_{5 * clip}_{5 * clip + 10}"
        names.append(name)
        captions[name] = [f"{subject} {action}".split() for action in _ACTIONS[: 2 + clip % 3]]
        file = place / "MSVD_Videos" / f"{name}.avi"
        if clip == 0:
            damaged(file)
        elif clip != 1:
            video(file, rng)
    captions["trained-on_0_9"] = [["a", "clip", "of", "another", "list"]]
    (place / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=2))
    for split, listed in (("train", ["trained-on_0_9"]), ("val", []), ("test", names)):
        (place / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")
