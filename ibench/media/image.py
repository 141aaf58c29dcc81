"""Still images: files and bytes to PIL, at the bit depth they were stored with."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ibench.errors import UnreadableSample


def read_image(source: Path | bytes, box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """Decode an image completely, as stored; with ``box`` (left, top, right, bottom in pixels) only that part of it.

    Raises UnreadableSample when it is truncated, damaged, no image, ends before the box does, or claims more pixels
    than Pillow's own limit of 179 million, which is checked before anything is decoded.
    """
    with _opened(source) as image:
        image.load()
        if box is None:
            return image.copy()
        if min(box) < 0 or box[2] > image.width or box[3] > image.height:
            raise UnreadableSample(
                f"{_name(source)}: box {tuple(box)} leaves the image of {image.width} × {image.height}"
            )
        return image.crop(box)


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header alone. Raises UnreadableSample when there is none."""
    with _opened(source) as image:
        return image.size


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, but below the limit
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                yield image
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise UnreadableSample(f"{_name(source)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What happened, without the path that some messages quote: reasons stand in records, which travel."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a format that Pillow knows"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _name(source: Path | bytes) -> str:
    return "image" if isinstance(source, bytes) else source.name
