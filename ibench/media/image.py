"""Still images: files and bytes to PIL, at the bit depth they were stored with."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image

from ibench.errors import UnreadableSample


def read_image(source: Path | bytes) -> Image.Image:
    """Decode an image completely, as stored.

    Raises UnreadableSample when it is truncated, damaged, no image, or claims more pixels than Pillow's own limit
    of 179 million, which is checked before anything is decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, but below the limit
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.load()
                return image.copy()
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise UnreadableSample(f"{'image' if isinstance(source, bytes) else source.name}: {error}") from error
