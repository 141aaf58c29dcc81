"""Boxes of detection data as samples: clipped to their picture, cut out when decoded."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from ibench.datasets.base import Item
from ibench.media.image import read_image

SMALLEST_SIDE = 10
"""Boxes with a side of so many pixels or fewer are no samples; CodeBind's rule for LLVIP and FLIR (datasets/*.py)."""


class Box(NamedTuple):
    """Edges in pixels, right and bottom not included."""

    left: int
    top: int
    right: int
    bottom: int

    def clipped(self, width: int, height: int) -> Box:
        """The part inside a picture; its sides may be 0 or less where there is none."""
        return Box(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    @property
    def large_enough(self) -> bool:
        return min(self.right - self.left, self.bottom - self.top) > SMALLEST_SIDE

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def crop(id: str, file: Path, box: Box, label: str, picture: str) -> Item:
    """A box as a sample; boxes of one picture are one cluster."""
    return Item(
        id=id,
        decode=partial(read_image, file, box),
        content=file,
        part=",".join(map(str, box)),
        labels=(label,),
        group=id,
        cluster=picture,
    )
