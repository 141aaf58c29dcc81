"""Detection data in little: pictures of noise with boxes of every category that the task lists, and of one more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_SIZE = (160, 128)
_PICTURES = 8


def write(spec: TaskSpec, place: Path) -> None:
    """``place`` is the annotation file: pictures lie in ``thermal_8_bit/`` beside FLIR's first one, else in ``data/``.

    One picture is damaged and one is not there; a box reaches over the edge and one is too small to be a sample.
    """
    rng = np.random.default_rng(0)
    first = place.name == "thermal_annotations.json"
    names = [
        f"thermal_8_bit/FLIR_{8863 + number:05d}.jpeg" if first else f"data/video-fake-frame-{number:06d}-noise.jpg"
        for number in range(_PICTURES)
    ]
    damaged(place.parent / names[0])
    for name in names[2:]:  # the second is listed, and not there
        picture(place.parent / name, rng, _SIZE, "L")
    labels = [*(spec.labels or ("person", "car")), "not asked for"]
    categories = [
        {"id": 3 * number + 1, "name": label, "supercategory": "unknown"} for number, label in enumerate(labels)
    ]
    annotations: list[dict[str, Any]] = []
    for image in range(_PICTURES):
        for number in range(len(labels)):
            left, top = (int(edge) for edge in rng.integers(0, (120, 80)))
            _annotate(annotations, image, categories[number]["id"], [left, top, 20 + number, 30])
    _annotate(annotations, 2, 1, [150, 100, 40, 20])
    _annotate(annotations, 2, 1, [150, 100, 9, 20])
    images = [
        {"id": image, "file_name": name, "width": _SIZE[0], "height": _SIZE[1]} for image, name in enumerate(names)
    ]
    place.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))


def _annotate(annotations: list[dict[str, Any]], image: int, category: Any, box: list[int]) -> None:
    annotations.append(
        {
            "id": len(annotations) + 1,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
    )
