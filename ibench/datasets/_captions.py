"""Pictures with several captions each, of Karpathy's splits (arXiv 1412.2306), as retrieval in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ibench.datasets.base import Dataset, Item, inside, text_item
from ibench.errors import IbenchError
from ibench.media.image import read_image
from ibench.modalities import Modality
from ibench.tasks import TaskSpec

Captions = Mapping[str, Sequence[str]]
"""File name of a picture → its captions, as they are written."""


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
    """The pictures of a split in Karpathy's own file: ``{images: [{filename, split, sentences: [{raw}]}]}``."""
    found = {
        str(picture["filename"]): [str(sentence["raw"]) for sentence in picture["sentences"]]
        for picture in _rows(table, "images", ("filename", "split", "sentences"))
        if picture["split"] == split
    }
    if not found:
        raise IbenchError(f"{table}: no picture of split '{split}'; known: test, val, train")
    return found


def coco_json(table: Path) -> Captions:
    """COCO's caption format: ``{images: [{id, file_name}], annotations: [{image_id, caption}]}``."""
    names = {row["id"]: str(row["file_name"]).rpartition("/")[2] for row in _rows(table, "images", ("id", "file_name"))}
    captions: dict[str, list[str]] = {name: [] for name in names.values()}
    for row in _rows(table, "annotations", ("image_id", "caption")):
        if row["image_id"] not in names:
            raise IbenchError(f"{table}: a caption of picture {row['image_id']}, which is not among its images")
        captions[names[row["image_id"]]].append(str(row["caption"]))
    return captions


def _rows(table: Path, key: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    try:
        rows = json.loads(table.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IbenchError(f"{table}: expected JSON with a list '{key}' ({type(error).__name__}: {error})") from error
    for number, row in enumerate(rows):
        absent = [field for field in fields if not isinstance(row, dict) or field not in row]
        if absent:
            raise IbenchError(f"{table}: entry {number} of '{key}' lacks {', '.join(absent)}")
    return list(rows)
