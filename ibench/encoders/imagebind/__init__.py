"""ImageBind: one embedding space for images, video, text, sound, depth, thermal images and motion.

Girdhar et al., "ImageBind: One Embedding Space To Bind Them All", CVPR 2023, arXiv 2305.05665. `recognise` tells an
ImageBind state dict by its keys, `load` opens one. The weights Meta published are CC BY-NC 4.0.
"""

from __future__ import annotations

import torch

from ibench.encoders.base import DTYPES
from ibench.encoders.imagebind.encoder import ImageBind, load
from ibench.encoders.imagebind.layout import has_towers
from ibench.encoders.source import Family, Opening, Source

__all__ = ["FAMILIES", "ImageBind", "load", "recognise"]

FAMILIES = (Family("imagebind", "all seven", "modality_trunks.* in the state dict", ".checkpoints/imagebind_huge.pth"),)


def recognise(source: Source) -> Opening | None:
    """A state dict laid out as Meta's imagebind_huge.pth, of whatever sizes and with any of the towers."""
    if not has_towers({key: tuple(tensor.shape) for key, tensor in source.weights.items()}):
        return None
    return Opening(lambda: _load(source), lambda: [source.path])


def _load(source: Source) -> ImageBind:
    device, dtype = torch.device(source.device), DTYPES[source.dtype]
    return load(source.weights, name=source.path.stem, device=device, dtype=dtype)
