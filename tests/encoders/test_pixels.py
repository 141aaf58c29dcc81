"""Bytes that become floats on the device are torchvision's ToTensor and Normalize, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ibench.encoders.base import to_device
from ibench.encoders.pixels import as_bytes, normalised, unit

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def every_byte() -> Image.Image:
    """All 256 values in each channel, in another order in each."""
    rng = np.random.default_rng(0)
    return Image.fromarray(
        np.stack([rng.permutation(256) for _ in range(3)], axis=1).reshape(16, 16, 3).astype(np.uint8)
    )


def test_the_two_halves_are_totensor_and_normalize() -> None:
    whole = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])(every_byte())
    halves = normalised(as_bytes(every_byte())[None], MEAN, STD)
    assert halves.dtype == torch.float32
    assert torch.equal(halves[0], whole)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_unit_pixels_are_totensor(mode: str) -> None:
    image = every_byte().convert(mode)
    assert torch.equal(unit(as_bytes(image)), transforms.ToTensor()(image))


def test_bytes_lie_in_memory_channel_after_channel() -> None:
    """As they come out of a worker: a kernel may round otherwise for another order, and workers must not show."""
    assert as_bytes(every_byte()).is_contiguous()


def test_a_clip_is_normalised_channel_by_channel() -> None:
    frames = torch.arange(2 * 4 * 3 * 5 * 5, dtype=torch.uint8).reshape(2, 4, 3, 5, 5)
    alone = torch.stack([torch.stack([normalised(frame, MEAN, STD) for frame in clip]) for clip in frames])
    assert torch.equal(normalised(frames, MEAN, STD), alone)


def test_bytes_are_left_as_they_were_and_floats_pass() -> None:
    pixels = as_bytes(every_byte())
    before = pixels.clone()
    ready = normalised(pixels, MEAN, STD)
    assert torch.equal(pixels, before)
    assert normalised(ready, MEAN, STD) is ready
    assert unit(ready) is ready


def test_all_is_computed_where_the_pixels_are() -> None:
    """On the meta device, which computes shapes only, torch refuses to mix devices as it does on a GPU."""
    pixels = to_device(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.device("meta"))
    assert normalised(pixels, MEAN, STD).device.type == "meta"
