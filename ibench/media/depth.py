"""Depth maps: 16-bit grey images to metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ibench.errors import UnreadableSample
from ibench.media.image import read_image
from ibench.modalities import DepthMap

_MILLIMETRES = 1000
_SUN_RGBD_BITS = 3
_SUN_RGBD_FARTHEST = 8.0


def read_millimetres(source: Path | bytes, focal: float, baseline: float) -> DepthMap:
    """A 16-bit grey image that stores millimetres, as re-formats of NYU Depth v2 do; 0 where depth is missing.

    ``focal`` in pixels and ``baseline`` in metres belong to the camera; no image says them. Raises UnreadableSample
    for a file that is damaged, or has 8 bits a pixel or colours: that is a picture of depth, without its scale.
    """
    metres = _stored(source).astype(np.float32) / np.float32(_MILLIMETRES)
    return DepthMap(metres, focal, baseline)


def read_sun_rgbd(source: Path | bytes, focal: float, baseline: float) -> DepthMap:
    """A depth image of SUN RGB-D: 16-bit millimetres whose bits are rotated left by three; 0 where depth is missing.

    ``read3dPoints.m`` of SUNRGBDtoolbox turns the bits back, divides by 1,000 and sets what is beyond 8 m to 8 m, and
    so does this: the map is in true metres. (Omnivore, and ImageBind after it, left the bits where they are.)
    ``focal`` is in pixels, ``baseline`` in metres. Raises UnreadableSample as `read_millimetres` does.
    """
    stored = _stored(source)
    millimetres = (stored >> _SUN_RGBD_BITS) | (stored << (16 - _SUN_RGBD_BITS))
    metres = millimetres.astype(np.float32) / np.float32(_MILLIMETRES)
    return DepthMap(np.minimum(metres, np.float32(_SUN_RGBD_FARTHEST)), focal, baseline)


def _stored(source: Path | bytes) -> NDArray[np.uint16]:
    """The numbers in the file, uint16 [H, W]. Pillow opens 16-bit grey as I;16 (in either byte order) or as I."""
    image = read_image(source)
    name = "image" if isinstance(source, bytes) else source.name
    if not image.mode.startswith("I"):
        raise UnreadableSample(f"{name}: mode {image.mode}, a depth map is 16-bit grey")
    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) >= 2**16:
        raise UnreadableSample(f"{name}: values {values.min()} to {values.max()}, a depth map has 16 bits")
    return values.astype(np.uint16)
