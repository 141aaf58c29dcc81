"""COCO's Karpathy test split in little: twelve pictures with five captions, one with six."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ibench.datasets.fakes._captions import captions
from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_PICTURES = 12


def write(spec: TaskSpec, place: Path) -> None:
    """``val2014/COCO_val2014_000000000042.jpg`` … and ``coco_test_karpathy.json``, captions in no order of pictures.

    One picture is damaged, one is not there.
    """
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(_PICTURES):
        image = 42 + 37 * number
        name = f"COCO_val2014_{image:012d}.jpg"
        images.append({"file_name": name, "height": 48, "width": 64, "id": image})
        for caption in captions(rng, image, 6 if number == 2 else 5):
            annotations.append({"image_id": image, "caption": caption})
        if number == 0:
            damaged(place / "val2014" / name)
        elif number != 1:
            picture(place / "val2014" / name, rng, mode="L" if number == 3 else "RGB")
    rng.shuffle(annotations)
    rows = [{"id": number, **row} for number, row in enumerate(annotations)]
    (place / "coco_test_karpathy.json").write_text(json.dumps({"images": images, "annotations": rows}))
