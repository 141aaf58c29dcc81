"""SUN RGB-D in little: frames of all four sensors, one damaged, one without depth, and one listed that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from ibench.datasets.fakes.noise import damaged, picture
from ibench.datasets.sun_rgbd import MARKER, SCENES
from ibench.tasks import TaskSpec

_SETS = ("kv1/NYUdata", "kv2/kinect2data", "realsense/lg", "xtion/sun3ddata/hotel_x/hotel_x_1")
_NOT_OF_THE_19 = ("lobby", "bookstore")
_FRAMES, _FOR_TRAINING = 2, 8  # of each scene in the two lists; eight are what few-shot tasks draw
_WHERE_THEY_LAY = "/n/fs/sun3d/data/SUNRGBD/"


def write(spec: TaskSpec, place: Path) -> None:
    """Two frames for testing and eight for training of each of the 19 scenes and two others, and ``allsplit.mat`` with
    its authors' paths.

    Every fifth path of the split ends in a slash, every seventh has two in the middle.
    """
    rng = np.random.default_rng(0)
    scenes = [scene for each in (_FRAMES, _FOR_TRAINING) for scene in (*SCENES, *_NOT_OF_THE_19) for _ in range(each)]
    frames = []
    for number, scene in enumerate(scenes):
        name = f"{_SETS[number % len(_SETS)]}/frame-{number:04d}"
        frames.append(name)
        if number == 0:
            continue  # listed, and not there
        folder = place / "SUNRGBD" / name
        picture(folder / "image" / f"{number:07d}.jpg", rng, (64, 48))
        if number == 2:
            damaged(folder / "depth_bfx" / f"{number:07d}.png")
        elif number != 4:  # not in-filled
            picture(folder / "depth_bfx" / f"{number:07d}.png", rng, (64, 48), mode="I;16")
        picture(folder / "depth" / f"{number:07d}.png", rng, (64, 48), mode="I;16")
        (folder / "scene.txt").write_text(scene, encoding="utf-8")
        focal = 520 + number
        (folder / "intrinsics.txt").write_text(f"{focal}.5 0 320 \n0 {focal}.5 240 \n0 0 1 \n", encoding="utf-8")
    (place / MARKER).parent.mkdir(parents=True, exist_ok=True)
    written = [_as_they_wrote(number, name) for number, name in enumerate(frames)]
    tested = _FRAMES * len((*SCENES, *_NOT_OF_THE_19))
    savemat(place / MARKER, {"alltest": _cells(written[:tested]), "alltrain": _cells(written[tested:])})


def _as_they_wrote(number: int, name: str) -> str:
    path = _WHERE_THEY_LAY + (name.replace("/", "//", 1) if number % 7 == 6 else name)
    return f"{path}/" if number % 5 == 4 else path


def _cells(texts: list[str]) -> np.ndarray:
    """A MATLAB cell array of one row."""
    cells = np.empty((1, len(texts)), dtype=object)
    cells[0, :] = texts
    return cells
