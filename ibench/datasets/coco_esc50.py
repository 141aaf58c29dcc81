"""COCO's pictures with the objects in them, and ESC-50's sounds of such objects: a labelled pool to compose from.

The folder holds both as they are published (links will do): ``annotations/instances_val2017.json`` and ``val2017/`` of
cocodataset.org, whose format is cocodataset.org/#format-data, and ``ESC-50-master/`` of github.com/karolpiczak/ESC-50.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from ibench.datasets import esc50
from ibench.datasets._jsonfile import read_json
from ibench.datasets._listed import present
from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError, did_you_mean
from ibench.media.image import read_image
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

MARKER = "annotations/instances_val2017.json"
_PICTURES = "val2017"
_SOUNDS = "ESC-50-master"


class _Named(BaseModel):
    id: int
    name: str


class _Picture(BaseModel):
    id: int
    file_name: str


class _Instance(BaseModel):
    image_id: int
    category_id: int


class _Instances(BaseModel):
    images: list[_Picture]
    categories: list[_Named]
    annotations: list[_Instance]


def read(spec: TaskSpec, root: Path) -> Dataset:
    """Every picture, labelled with the categories of its objects (crowds count), and the sounds of a category.

    The task's ``labels`` map a COCO category to the ESC-50 categories that are its sound; other sounds are left out.
    Raises IbenchError for a task without them, for an annotation of a picture or category that is not listed, and for a
    category of the task that either data set has not.
    """
    if not spec.labels:
        raise IbenchError(f"{spec.name}: 'labels' say which of ESC-50's categories are the sound of one of COCO's")
    pictures, absent = _pictures(spec, root)
    sounds = esc50.read(spec.model_copy(update={"query": Modality.AUDIO}), root / _SOUNDS)
    sound_of = _sound_of(spec, sounds.labels or {})
    heard = [
        replace(item, labels=(sound_of[item.labels[0]],))
        for item in sounds.items[Modality.AUDIO]
        if item.labels[0] in sound_of
    ]
    return Dataset(
        {Modality.IMAGE: pictures, Modality.AUDIO: heard},
        missing=(*absent, *sounds.missing),
        copy="COCO val2017 and ESC-50 folders",
    )


def _pictures(spec: TaskSpec, root: Path) -> tuple[list[Item], tuple[str, ...]]:
    """The pictures that are there, in the order of the file, and the names of the others."""
    table = root / MARKER
    found = read_json(table, _Instances)
    names = {category.id: category.name for category in found.categories}
    for label in spec.labels or {}:
        if label not in names.values():
            raise IbenchError(
                f"{spec.name}: label '{label}' is no category of {table}; {did_you_mean(label, names.values())}"
            )
    labels: dict[int, dict[str, None]] = {picture.id: {} for picture in found.images}
    for number, one in enumerate(found.annotations):
        if one.image_id not in labels or one.category_id not in names:
            raise IbenchError(
                f"{table}: annotation {number} is of picture {one.image_id} and category {one.category_id}, "
                "which the file does not list both"
            )
        labels[one.image_id][names[one.category_id]] = None
    files = {picture.id: inside(root / _PICTURES, picture.file_name, str(table)) for picture in found.images}
    return present(
        Item(
            id=picture.file_name,
            decode=partial(read_image, files[picture.id]),
            content=files[picture.id],
            labels=tuple(sorted(labels[picture.id])),
        )
        for picture in found.images
    )


def _sound_of(spec: TaskSpec, known: Mapping[str, object]) -> dict[str, str]:
    """ESC-50's category → the COCO category that sounds so."""
    of: dict[str, str] = {}
    for label, sounds in (spec.labels or {}).items():
        for sound in sounds:
            if sound not in known:
                raise IbenchError(
                    f"{spec.name}: '{sound}', the sound of '{label}', is no category of ESC-50; "
                    f"{did_you_mean(sound, known)}"
                )
            of[sound] = label
    return of
