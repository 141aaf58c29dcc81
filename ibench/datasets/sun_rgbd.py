"""SUN RGB-D as its authors publish it: ``SUNRGBD.zip`` and ``SUNRGBDtoolbox.zip`` unpacked beside each other.

Source: rgbd.cs.princeton.edu (Song et al., CVPR 2015). 10,335 frames of four sensors, each in a folder of its own,
``SUNRGBD/<sensor>/<set>/…/<frame>``, see `ibench.datasets._rgbd`; ``allsplit.mat`` lists 5,050 of them for testing and
5,285 for training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from ibench.datasets._matlab import v5_list
from ibench.datasets._rgbd import BASELINES, Frame, dataset, scene_name, sun_rgbd_frame
from ibench.datasets.base import Dataset, inside
from ibench.errors import IbenchError, did_you_mean
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
PAIRED = (Modality.DEPTH, Modality.IMAGE)
SCENES = (
    "bathroom", "bedroom", "classroom", "computer_room", "conference_room", "corridor", "dining_area", "dining_room",
    "discussion_area", "furniture_store", "home_office", "kitchen", "lab", "lecture_theatre", "library",
    "living_room", "office", "rest_space", "study_space",
)  # fmt: skip
"""The 19 scenes with more than 80 frames: the classes of the paper's scene categorisation."""
_LISTS = {"test": "alltest", "train": "alltrain"}


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The frames of split ``test`` or ``train`` whose ``scene.txt`` is one of the 19 `SCENES`, in the order of
    ``allsplit.mat``: 4,659 for testing.

    A frame whose ``scene.txt`` is not there is missing, whatever its scene would have been. Frames of one sequence of
    SUN3D (``xtion/sun3ddata/<place>/<sequence>/<frame>``) are one cluster. Raises IbenchError when the split or the
    folder of frames is absent, and for a path that leaves it or a sensor that is not known.
    """
    split = spec.dataset.split or "test"
    if split not in _LISTS:
        raise IbenchError(f"{spec.name}: reader 'sun_rgbd' reads split {' or '.join(_LISTS)}, not '{split}'")
    frames_root = root / "SUNRGBD"
    if not frames_root.is_dir():
        raise IbenchError(f"{spec.name}: {frames_root} not found; unpack SUNRGBD.zip beside SUNRGBDtoolbox")
    frames: list[Frame] = []
    missing: list[str] = []
    for path in _paths(root / MARKER, _LISTS[split]):
        folder = inside(frames_root, str(path), str(root / MARKER))
        scene = scene_name(folder / "scene.txt")
        if scene is None:
            missing.append(str(path))
        elif scene in SCENES:
            sequence = str(path.parent) if len(path.parts) > 3 else ""
            frames.append(sun_rgbd_frame(folder, str(path), _sensor(path, root / MARKER), scene, sequence))
    found = dataset(spec, frames, missing, copy="SUN RGB-D folder")
    return replace(found, labels={scene: (scene,) for scene in SCENES})


def _paths(split: Path, name: str) -> list[PurePosixPath]:
    """The folders of a list of frames below ``SUNRGBD``.

    The list has them as they lay on its authors' disk, ``/n/fs/sun3d/data/SUNRGBD/kv2/…``, some with a slash at the
    end or two in the middle.
    """
    paths = []
    for entry in v5_list(split, name):
        _, found, below = str(entry).partition("/SUNRGBD/")
        if not found or not below.strip("/"):
            raise IbenchError(f"{split}: {name} has {str(entry)!r}, expected a path with /SUNRGBD/ in it")
        paths.append(PurePosixPath(below.lstrip("/")))
    return list(dict.fromkeys(paths))


def _sensor(path: PurePosixPath, split: Path) -> str:
    if path.parts[0] not in BASELINES:
        raise IbenchError(f"{split}: {path} is of no known sensor; {did_you_mean(path.parts[0], BASELINES)}")
    return path.parts[0]
