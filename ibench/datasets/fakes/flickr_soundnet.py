"""Flickr-SoundNet in little: six test pairs and one of training; one frame damaged, one sound not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture, sound, table
from ibench.tasks import TaskSpec

_BOXES = ((0, 0, 128, 128), (64, 64, 192, 192), (128, 128, 256, 256))


def write(spec: TaskSpec, place: Path) -> None:
    """``metadata/flickr_test.csv``, ``Annotations/{id}.xml`` of three annotators, ``frames`` and ``audio``.

    Two of the annotators draw the same box, the third a smaller one inside it.
    """
    rng = np.random.default_rng(0)
    ids = [f"100{number:08d}" for number in range(7)]
    for number, id in enumerate(ids):
        left, top, right, bottom = _BOXES[number % 3]
        boxes = [(left, top, right, bottom)] * 2 + [(left + 20, top + 20, right - 20, bottom - 20)]
        people = "".join(
            f"<annotator><bbox><label>object</label><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
            "</bbox></annotator>"
            for a, b, c, d in boxes
        )
        annotation = place / "Annotations" / f"{id}.xml"
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(f"<annotation>{people}</annotation>", encoding="utf-8")
        if number == 4:
            damaged(place / "frames" / f"{id}.jpg")
        else:
            picture(place / "frames" / f"{id}.jpg", rng, (64, 64))
        if number != 5:
            sound(place / "audio" / f"{id}.wav", rng)
    table(place / "metadata" / "flickr_test.csv", [(id, 0) for id in ids[:6]])
