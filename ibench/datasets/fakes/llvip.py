"""LLVIP in little: twelve test pairs, one infrared picture damaged, one visible picture and one annotation absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_SIZE = (160, 128)
_PICTURES = 12


def write(spec: TaskSpec, place: Path) -> None:
    """``infrared`` (grey) and ``visible`` pictures of noise with two persons each, and a training annotation beside.

    In each picture: a person that reaches over the edge, which is clipped, and one that is too small to be a sample.
    """
    rng = np.random.default_rng(0)
    for number in range(1, _PICTURES + 1):
        name = f"19{number:04d}"
        if number == 1:
            damaged(place / "infrared" / "test" / f"{name}.jpg")
        else:
            picture(place / "infrared" / "test" / f"{name}.jpg", rng, _SIZE, "L")
        if number != 2:
            picture(place / "visible" / "test" / f"{name}.jpg", rng, _SIZE)
        if number != 3:
            left, top = (int(edge) for edge in rng.integers(0, (120, 80)))
            boxes = [(left, top, left + 24, top + 40), (140, 100, 175, 130), (60, 60, 68, 80)]
            _annotate(place / "Annotations" / f"{name}.xml", boxes)
    _annotate(place / "Annotations" / "010001.xml", [(0, 0, 20, 30)])


def _annotate(path: Path, boxes: Sequence[tuple[int, int, int, int]]) -> None:
    persons = "".join(
        "<object><name>person</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for left, top, right, bottom in boxes
    )
    size = f"<size><width>{_SIZE[0]}</width><height>{_SIZE[1]}</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename>{size}{persons}</annotation>", encoding="utf-8")
