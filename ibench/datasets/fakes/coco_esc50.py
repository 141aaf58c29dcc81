"""COCO's val2017 and ESC-50 in little: pictures of one object, of two and of three, and two sounds of each class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.esc50 import write_clips
from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec


def write(spec: TaskSpec, place: Path) -> None:
    """``annotations/instances_val2017.json``, ``val2017/{id:012d}.jpg`` and ``ESC-50-master/``.

    Objects are the task's labels and a person, who makes no sound there; one picture has none. One picture and one
    sound are damaged, one of each is not there.
    """
    rng = np.random.default_rng(0)
    labels = list(spec.labels or ())
    categories = [*labels, "person"]
    following = [*labels[1:], labels[0]]
    shown: list[tuple[str, ...]] = [(), ("person",), ("person",)]
    for label, other in zip(labels, following, strict=True):
        shown += [(label,), (label,), (label, other), (label, other, "person")]
    images, annotations = [], []
    for number, objects in enumerate(shown):
        image = 139 + 146 * number
        name = f"{image:012d}.jpg"
        images.append({"id": image, "file_name": name, "width": 64, "height": 48})
        boxes = [one for one in objects for _ in range(2)]  # of an object there may be several
        annotations += [{"image_id": image, "category_id": 1 + categories.index(one), "iscrowd": 0} for one in boxes]
        if number == 3:
            damaged(place / "val2017" / name)
        elif number != 7:
            picture(place / "val2017" / name, rng)
    rng.shuffle(annotations)
    instances = {
        "images": images,
        "categories": [{"id": 1 + number, "name": name} for number, name in enumerate(categories)],
        "annotations": [{"id": number, **row} for number, row in enumerate(annotations)],
    }
    (place / "annotations").mkdir(parents=True, exist_ok=True)
    (place / "annotations" / "instances_val2017.json").write_text(json.dumps(instances))
    write_clips(place / "ESC-50-master", [sound for sounds in (spec.labels or {}).values() for sound in sounds])
