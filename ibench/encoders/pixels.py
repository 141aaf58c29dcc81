"""Pixels travel from decode workers to the device as bytes; what makes floats of them runs there, a batch at a time.

That is a quarter of the memory through pipes and over the bus. The operations are those of torchvision's ToTensor and
Normalize in float32, one after the other, so that the floats are the same bit by bit as if they were made in a worker.
"""

from __future__ import annotations

from functools import cache

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor


def as_bytes(image: Image.Image) -> Tensor:
    """PIL image of 8 bits → uint8 [channels, H, W], in that order in memory as well."""
    pixels: Tensor = pil_to_tensor(image)
    return pixels.contiguous()


def unit(pixels: Tensor) -> Tensor:
    """Bytes 0..255 of any shape → float32 0..1. Pixels that are floats are ready, and pass.

    Divided by a tensor: by a number, torch's CUDA kernel multiplies with its reciprocal, which rounds otherwise.
    """
    return pixels if pixels.is_floating_point() else pixels / _constant((255.0,), pixels.device)


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Bytes [..., channels, H, W] → float32: over 255, less each channel's mean, over its std. Floats pass."""
    if pixels.is_floating_point():
        return pixels
    means, stds = (_constant(values, pixels.device)[:, None, None] for values in (mean, std))
    return unit(pixels).sub_(means).div_(stds)


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Once on each device: a new one in every batch would have the host wait for the device."""
    return torch.tensor(values, dtype=torch.float32, device=device)
