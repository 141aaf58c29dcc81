"""Pictures with several captions each, of Karpathy's splits (arXiv 1412.2306), as retrieval in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from ibench.datasets._jsonfile import read_json
from ibench.datasets.base import Dataset, Item, inside, text_item
from ibench.errors import IbenchError
from ibench.media.image import read_image
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

Captions = Mapping[str, Sequence[str]]
"""File name of a picture → its captions, as they are written."""


class _Sentence(BaseModel):
    raw: str


class _KarpathyPicture(BaseModel):
    filename: str
    split: str
    sentences: list[_Sentence]


class _Karpathy(BaseModel):
    images: list[_KarpathyPicture]


class _CocoPicture(BaseModel):
    id: int
    file_name: str


class _CocoCaption(BaseModel):
    image_id: int
    caption: str


class _Coco(BaseModel):
    images: list[_CocoPicture]
    annotations: list[_CocoCaption]


def captioned(spec: TaskSpec, folder: Path, captions: Captions, copy: str) -> Dataset:
    """Every caption is an item, and every picture; those of one picture match, and are one cluster.

    A caption whose picture is missing stays: it is not asked for, having nothing to be found.
    """
    texts, pictures, missing = [], [], []
    for name, several in captions.items():
        texts += [text_item(f"{name}#{number}", text, name, name) for number, text in enumerate(several)]
        file = inside(folder, name, copy)
        if not file.is_file():
            missing.append(name)
            continue
        pictures.append(Item(id=name, decode=partial(read_image, file), content=file, group=name, cluster=name))
    return Dataset({Modality.TEXT: texts, Modality.IMAGE: pictures}, missing=tuple(missing), copy=copy)


def karpathy_json(table: Path, split: str) -> Captions:
    """The pictures of a split in Karpathy's own file."""
    pictures = read_json(table, _Karpathy).images
    found = {one.filename: [sentence.raw for sentence in one.sentences] for one in pictures if one.split == split}
    if not found:
        raise IbenchError(f"{table}: no picture of split '{split}'; known: test, val, train")
    return found


def coco_json(table: Path) -> Captions:
    """The pictures of a file in COCO's caption format."""
    coco = read_json(table, _Coco)
    names = {picture.id: picture.file_name.rpartition("/")[2] for picture in coco.images}
    captions: dict[str, list[str]] = {name: [] for name in names.values()}
    for row in coco.annotations:
        if row.image_id not in names:
            raise IbenchError(f"{table}: a caption of picture {row.image_id}, which is not among its images")
        captions[names[row.image_id]].append(row.caption)
    return captions
