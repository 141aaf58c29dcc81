"""NYU Depth v2 in little: the authors' MATLAB 7.3 file, with its reversed axes and references, and their split."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from ibench.datasets.nyu_depth import SCENES
from ibench.tasks import TaskSpec

_OTHERS = ("cafe", "computer_lab", "excercise_room", "foyer", "study_room")  # the second e is theirs
_FRAMES, _TESTED = 12, 4  # eight of each for training: what few-shot tasks draw
_WIDTH, _HEIGHT = 64, 48


def write(spec: TaskSpec, place: Path) -> None:
    """Twelve frames of six places for each of 14 scene types, the first four in the test split, counted from 1."""
    rng = np.random.default_rng(0)
    kinds = [kind for kind in (*SCENES, *_OTHERS) for _ in range(_FRAMES)]
    scenes = [f"{kind}_{1 + frame % _FRAMES // 2:04d}" for frame, kind in enumerate(kinds)]
    count = len(kinds)
    place.mkdir(parents=True, exist_ok=True)
    with h5py.File(place / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as mat:
        mat["images"] = rng.integers(0, 256, (count, 3, _WIDTH, _HEIGHT)).astype(np.uint8)
        mat["depths"] = rng.uniform(0.7, 10, (count, _WIDTH, _HEIGHT)).astype(np.float32)
        mat["rawDepths"] = mat["depths"][()] * (rng.random((count, _WIDTH, _HEIGHT)) > 0.2)
        for name, texts in (("sceneTypes", kinds), ("scenes", scenes)):
            _write_strings(mat, name, texts)
    header = "MATLAB 7.3 MAT-file, Platform: none, written by ibench HDF5 schema 1.00 .".ljust(116).encode()
    with (place / "nyu_depth_v2_labeled.mat").open("r+b") as file:
        file.write(header + bytes(8) + b"\x00\x02IM")
    numbers = np.arange(1, count + 1, dtype=np.uint16)[:, None]
    tested = np.arange(count) % _FRAMES < _TESTED
    savemat(place / "splits.mat", {"trainNdxs": numbers[~tested], "testNdxs": numbers[tested]})


def _write_strings(mat: h5py.File, name: str, texts: list[str]) -> None:
    """A cell array as MATLAB keeps it: [1, n] references into ``#refs#``, to character codes uint16 [length, 1]."""
    references = np.empty((1, len(texts)), dtype=h5py.ref_dtype)
    for number, text in enumerate(texts):
        codes = np.array([[ord(letter)] for letter in text], dtype=np.uint16)
        references[0, number] = mat.create_dataset(f"#refs#/{name}{number}", data=codes).ref
    mat.create_dataset(name, data=references, dtype=h5py.ref_dtype)
