"""Places365 in little: three pictures of twelve of its scenes, renumbered, one damaged and one that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibench.datasets.fakes.noise import damaged, picture
from ibench.tasks import TaskSpec

_CATEGORIES = (
    "/a/airfield",
    "/a/airplane_cabin",
    "/a/apartment_building/outdoor",
    "/b/bakery/shop",
    "/b/balcony/exterior",
    "/b/balcony/interior",
    "/c/church/indoor",
    "/f/field/wild",
    "/f/field_road",
    "/m/mountain_snowy",
    "/u/underwater/ocean_deep",
    "/z/zen_garden",
)
_PICTURES = 3


def write(spec: TaskSpec, place: Path) -> None:
    """``val_256/Places365_val_00000001.jpg`` … (the miniature's are 64 × 64), and the two lists, as the tars hold them.

    The list of categories has no line break at its end, as published.
    """
    rng = np.random.default_rng(0)
    numbers = rng.permutation(np.repeat(np.arange(len(_CATEGORIES)), _PICTURES))
    lines = []
    for row, number in enumerate(numbers, 1):
        name = f"Places365_val_{row:08d}.jpg"
        lines.append(f"{name} {number}\n")
        if row == 1:
            damaged(place / "val_256" / name)
        elif row != 2:  # listed, and not there
            picture(place / "val_256" / name, rng, size=(64, 64))
    (place / "places365_val.txt").write_text("".join(lines))
    categories = "\n".join(f"{category} {number}" for number, category in enumerate(_CATEGORIES))
    (place / "categories_places365.txt").write_text(categories)
