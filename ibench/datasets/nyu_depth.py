"""NYU Depth v2, the 654 labelled frames of its test split or the 795 for training, from any form it is distributed in.

Source: Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012. Told by what lies in
the folder, the first of these that is there:

- ``nyu_depth_v2_labeled.mat``: the authors' file (MATLAB 7.3) of 1,449 frames, depth in-painted and in metres;
- ``SUNRGBD/kv1/NYUdata/NYU0001`` …: the same frames inside SUN RGB-D, cropped, in-filled anew, bits rotated;
- ``test/{depth,rgb,scene_class}``: as nicr-scene-analysis-datasets writes it, depth in millimetres, files counted
  from 0 (github.com/TUI-NICR/nicr-scene-analysis-datasets);
- ``nyuv2/data/val/<class>/*.png``, or ``data/val``: LanguageBind's copy of the depth of the former, test split only.

The first two need ``splits.mat`` beside them, the authors' split, whose ``testNdxs`` and ``trainNdxs`` count from 1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from ibench.datasets._matlab import array, hdf5, page, strings, v5_list
from ibench.datasets._rgbd import Frame, Source, dataset, image_source, scene_name, sun_rgbd_frame
from ibench.datasets.base import Dataset, shown
from ibench.errors import IbenchError
from ibench.media.depth import read_millimetres
from ibench.modalities import DepthMap, Modality
from ibench.tasks import TaskSpec

SCENES = (
    "bathroom", "bedroom", "bookstore", "classroom", "dining_room", "home_office", "kitchen", "living_room", "office",
)  # fmt: skip
OTHER = "other"
FOCAL, BASELINE = 518.857901, 0.075
"""Pixels (fx of these frames in SUN RGB-D) and metres (of a Kinect v1), which the other copies do not say."""


def read(spec: TaskSpec, root: Path) -> Dataset:
    """The frames of split ``test`` or ``train`` with one of ten labels: the nine most frequent of 27 scene types, and
    ``other``.

    Inside SUN RGB-D some scenes have other names (computer_room, lobby, study_space for computer_lab, foyer,
    study_room); in the test split all of these are ``other`` by either name. The cluster is the scene that several
    frames were taken in (``scenes``), which only the authors' file says. Raises IbenchError for another split, when
    ``splits.mat`` is absent or names frames that are not there, for a damaged file, and when images or training frames
    are wanted of a copy that has none.
    """
    if spec.dataset.split not in (None, *_INDICES):
        raise IbenchError(
            f"{spec.name}: reader 'nyu_depth' reads split {' or '.join(_INDICES)}, not '{spec.dataset.split}'"
        )
    for marker, layout in _LAYOUTS.items():
        if (root / marker).exists():
            return layout(spec, root, root / marker)
    raise IbenchError(f"{spec.name}: {root} has none of {', '.join(MARKER)}")


def _authors_file(spec: TaskSpec, root: Path, file: Path) -> Dataset:
    numbers = _numbers(spec, root)
    indices = [number - 1 for number in numbers]
    with hdf5(file) as mat:
        counts = [len(_stack(mat, "depths", "f", 3)), array(mat, "sceneTypes").size, array(mat, "scenes").size]
        if Modality.IMAGE in (spec.query, spec.target):
            counts.append(len(_stack(mat, "images", "u", 4)))
        if numbers[-1] > min(counts):
            named = f"{root / 'splits.mat'}: {_INDICES[_split(spec)]} names frame {numbers[-1]}"
            raise IbenchError(f"{named}, {file.name} has {min(counts)}")
        kinds, scenes = strings(mat, "sceneTypes", indices), strings(mat, "scenes", indices)
    frames = (
        Frame(
            id=_id(index + 1),
            label=_label(kind),
            depth=Source(partial(_depth_in_file, file, index), file, f"depths {index + 1}"),
            image=Source(partial(_image_in_file, file, index), file, f"images {index + 1}"),
            cluster=scene,
        )
        for index, kind, scene in zip(indices, kinds, scenes, strict=True)
    )
    return dataset(spec, frames, (), copy=file.name)


def _in_sun_rgbd(spec: TaskSpec, root: Path, folder: Path) -> Dataset:
    frames: list[Frame] = []
    missing: list[str] = []
    for id in map(_id, _numbers(spec, root)):
        scene = scene_name(folder / id / "scene.txt")
        if scene is None:
            missing.append(id)
        else:
            frames.append(sun_rgbd_frame(folder / id, id, "kv1", _label(scene)))
    return dataset(spec, frames, missing, copy="NYUdata of SUN RGB-D")


def _nicr(spec: TaskSpec, root: Path, labels: Path) -> Dataset:
    place = labels.parent.parent / _split(spec)
    scenes = {file.stem: scene_name(file) for file in shown(place / labels.name, "*.txt")}
    frames = (
        Frame(
            id=stem,
            label=_label(scene),
            depth=_millimetres(place / "depth" / f"{stem}.png"),
            image=image_source(place / "rgb" / f"{stem}.png"),
        )
        for stem, scene in scenes.items()
        if scene
    )
    unlabelled = [stem for stem, scene in scenes.items() if not scene]
    return dataset(spec, frames, unlabelled, copy="nicr-scene-analysis-datasets folder")


def _languagebind(spec: TaskSpec, root: Path, marker: Path) -> Dataset:
    val = marker.parent
    if Modality.IMAGE in (spec.query, spec.target):
        raise IbenchError(f"{spec.name}: LanguageBind's copy in {val} has no images; get {spec.dataset.source}")
    if _split(spec) != "test":
        raise IbenchError(f"{spec.name}: LanguageBind's copy in {val} is of the test split; get {spec.dataset.source}")
    folders = [folder for folder in shown(val, "*") if folder.is_dir()]
    frames = (
        Frame(f"{folder.name}/{file.name}", _label(folder.name), _millimetres(file), None)
        for folder in folders
        for file in shown(folder, "*.png")
    )
    return dataset(spec, frames, (), copy="LanguageBind's folders")


_LAYOUTS = {
    "nyu_depth_v2_labeled.mat": _authors_file,
    "SUNRGBD/kv1/NYUdata": _in_sun_rgbd,
    "test/scene_class": _nicr,
    "nyuv2/data/val/bookstore": _languagebind,
    "data/val/bookstore": _languagebind,
}
MARKER = tuple(_LAYOUTS)
PAIRED = (Modality.DEPTH, Modality.IMAGE)
_INDICES = {"test": "testNdxs", "train": "trainNdxs"}


def _split(spec: TaskSpec) -> str:
    return spec.dataset.split or "test"


def _numbers(spec: TaskSpec, root: Path) -> list[int]:
    """The frames of the task's split, counted from 1, ascending."""
    name = _INDICES[_split(spec)]
    split = root / "splits.mat"
    if not split.is_file():
        raise IbenchError(
            f"{spec.name}: {split} not found, the authors' train and test split; see {spec.dataset.source}"
        )
    numbers = v5_list(split, name)  # as integers or, from MATLAB itself, perhaps as doubles
    whole = [number for number in numbers if isinstance(number, int | float) and float(number).is_integer()]
    if not numbers or len(whole) < len(numbers) or min(whole) < 1:
        raise IbenchError(f"{split}: {name} must be whole numbers from 1")
    return sorted({int(number) for number in whole})


def _id(number: int) -> str:
    return f"NYU{number:04d}"


def _label(scene: str) -> str:
    return scene if scene in SCENES else OTHER


def _millimetres(file: Path) -> Source | None:
    if not file.is_file():
        return None
    return Source(partial(read_millimetres, file, FOCAL, BASELINE), file, f"focal {FOCAL} baseline {BASELINE}")


def _stack(mat: h5py.File, name: str, kind: str, axes: int) -> h5py.Dataset:
    stack = array(mat, name)
    if stack.ndim != axes or stack.dtype.kind != kind:
        raise IbenchError(f"{mat.filename}: '{name}' is {stack.dtype} of shape {stack.shape}, which is no NYU Depth v2")
    return stack


def _depth_in_file(file: Path, index: int) -> DepthMap:
    """A page of ``depths``, float32 [W, H] in metres as HDF5 has it."""
    with hdf5(file) as mat:
        metres = page(_stack(mat, "depths", "f", 3), index).T
    return DepthMap(np.ascontiguousarray(metres, dtype=np.float32), FOCAL, BASELINE)


def _image_in_file(file: Path, index: int) -> Image.Image:
    """A page of ``images``, uint8 [3, W, H] as HDF5 has it."""
    with hdf5(file) as mat:
        pixels = page(_stack(mat, "images", "u", 4), index).transpose(2, 1, 0)
    return Image.fromarray(np.ascontiguousarray(pixels))
