"""Flickr30k's Karpathy test split in little: twelve pictures with five captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes._captions import captions
from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_PICTURES, _CAPTIONS = 12, 5


def write(spec: TaskSpec, place: Path) -> None:
    """``flickr30k-images/1000.jpg`` … and ``flickr30k_test_karpathy.txt``: a header, and a line for each caption.

    Captions with a comma are quoted or not; one picture is damaged, one is not there.
    """
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(_PICTURES):
        name = f"{1000 + 91 * number}.jpg"
        for caption in captions(rng, number, _CAPTIONS):
            doubled = caption.replace('"', '""')
            lines.append(f'{name},"{doubled}"' if "," in caption and number % 2 else f"{name},{caption}")
        if number == 0:
            damaged(place / "flickr30k-images" / name)
        elif number != 1:
            picture(place / "flickr30k-images" / name, rng)
    (place / "flickr30k_test_karpathy.txt").write_text("\n".join(lines) + "\n")
