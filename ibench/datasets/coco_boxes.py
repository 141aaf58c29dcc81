"""Boxes of a detection data set in MS COCO's format as samples of classification.

``dataset.path`` is the annotation file; its pictures are named relative to its folder, as FLIR ADAS 1.3
(``val/thermal_annotations.json`` beside ``val/thermal_8_bit/``) and 2 (``images_thermal_val/coco.json`` beside
``images_thermal_val/data/``) have it. The format: cocodataset.org/#format-data.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, FiniteFloat

from ibench.datasets._boxes import SMALLEST_SIDE, Box, crop
from ibench.datasets._jsonfile import read_json
from ibench.datasets.base import Dataset, Item, inside
from ibench.errors import IbenchError, did_you_mean
from ibench.tasks import TaskSpec


class _Picture(BaseModel):
    id: int
    file_name: str
    width: int
    height: int


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    """Left, top, width, height in pixels."""


class _Annotations(BaseModel):
    images: list[_Picture]
    categories: list[_Category]
    annotations: list[_Annotation]


def read(spec: TaskSpec, table: Path) -> Dataset:
    """The boxes of the categories that the task lists, or of all that have a box, in the file's order.

    Boxes are rounded to whole pixels and clipped to the picture; those with a side of `SMALLEST_SIDE` pixels or fewer
    are left out. An id is the picture's name and the box's number in the file; boxes of one picture are a cluster.
    Labels are the categories' names, found by name and not by number, since publishers renumber them. Raises
    IbenchError for a file without what the format asks for or without any such box, for a category that it has not,
    and for an annotation of a picture that it has not.
    """
    found = read_json(table, _Annotations)
    pictures = {picture.id: picture for picture in found.images}
    wanted = _wanted(spec, table, found)
    items: list[Item] = []
    missing: dict[str, None] = {}
    for number, annotation in enumerate(found.annotations):
        label = wanted.get(annotation.category_id)
        if label is None:
            continue
        if annotation.image_id not in pictures:
            raise IbenchError(f"{table}: annotation {number} is of image {annotation.image_id}, which is not listed")
        picture = pictures[annotation.image_id]
        file = inside(table.parent, picture.file_name, str(table))
        box = _box(annotation).clipped(picture.width, picture.height)
        if not box.large_enough:
            continue
        if not file.is_file():
            missing[picture.file_name] = None
            continue
        items.append(crop(f"{picture.file_name}#{number}", file, box, label, picture.file_name))
    if not items and not missing:
        raise IbenchError(f"{table}: no box, larger than {SMALLEST_SIDE} pixels, of the task's categories")
    return Dataset(
        {spec.query: items},
        labels={name: (name,) for name in wanted.values()},
        missing=tuple(missing),
        copy=f"boxes of {table.name}",
    )


def _wanted(spec: TaskSpec, table: Path, found: _Annotations) -> dict[int, str]:
    """Category id → name, of the categories that are samples."""
    names = {category.id: category.name for category in found.categories}
    for label in spec.labels or ():
        if label not in names.values():
            raise IbenchError(f"{table}: no category '{label}'; {did_you_mean(label, names.values())}")
    used = {annotation.category_id for annotation in found.annotations}
    return {id: name for id, name in names.items() if (name in spec.labels if spec.labels else id in used)}


def _box(annotation: _Annotation) -> Box:
    left, top, width, height = annotation.bbox
    return Box(round(left), round(top), round(left + width), round(top + height))
