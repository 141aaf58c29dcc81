"""Weights, inputs and raw samples for the ImageBind tests, the same wherever they are made.

They come from numpy's ``RandomState``, whose stream is frozen, so the golden files need to hold only what the
reference made of them. Imported by the tests and, in the reference's own environment, by
``tests/parity/make_imagebind_goldens.py``: nothing here may import ibench.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# Two heads a tower, at the published head widths.
WIDTHS = {"vision": 160, "text": 128, "audio": 128, "depth": 96, "thermal": 128, "imu": 128}
BLOCKS = 2
DIM = 32
VOCABULARY = 600

TEXTS = [
    "A dog.",
    "a bad photo of a bird in the rain",
    "",
    "   Caf\u00e9   &amp; tea \u2014 \u00bd price!\n",
    "\U0001f415\U0001f327\ufe0f a wet dog \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u72ac\u304c\u5420\u3048\u308b",
    "it's they're 12345 sea_waves",
    " ".join(f"word{number}" for number in range(200)),
]
SOUNDS = {
    "mono-16k-5s": (1, 16_000, 5.0),
    "stereo-44k1-5s": (2, 44_100, 5.0),
    "mono-48k-0.7s": (1, 48_000, 0.7),
    "stereo-22k05-30s": (2, 22_050, 30.0),
    "mono-44k1-4.1s": (1, 44_100, 4.1),
}
PICTURES = {
    "rgb": ("RGB", (333, 251)),
    "grey": ("L", (180, 401)),
    "palette": ("P", (97, 64)),
    "alpha": ("RGBA", (224, 300)),
    "tiny": ("RGB", (5, 3)),
}
VIDEOS = {"landscape": (101, 25.0, 36, 65), "portrait": (299, 30_000 / 1001, 61, 40), "short": (9, 10.0, 32, 32)}
"""Frames, frames a second, height, width."""


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict in which every part matters: no bias, position, class token or learned key is near zero."""
    return {key: torch.from_numpy(_weight(key, tuple(shape))) for key, shape in shapes.items()}


def noise(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(_normal(name, shape))


def token_ids(context: int = 77) -> Tensor:
    """Five prompts of different lengths, the last one filling the context."""
    rows = np.zeros((5, context), np.int64)
    for row, length in zip(rows, (3, 9, 20, 50, context), strict=True):
        row[:length] = _random(f"prompt {length}").randint(1, VOCABULARY - 1, length)
        row[length - 1] = VOCABULARY - 1
    return torch.from_numpy(rows)


def sound(name: str) -> tuple[NDArray[np.float32], int]:
    """Samples [channels, samples] and rate: a rising tone under noise, with a DC offset and a silent stretch."""
    channels, rate, seconds = SOUNDS[name]
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (200 + 300 * time) * time)
    samples = 0.3 * tone + 0.05 * _normal(name, (channels, len(time))) + 0.02 * np.arange(1, channels + 1)[:, None]
    samples[:, (time > 0.4) & (time < 0.5)] = 0
    return samples.astype(np.float32), rate


def picture(name: str) -> Image.Image:
    mode, (width, height) = PICTURES[name]
    bands = {"RGB": 3, "L": 1, "P": 1, "RGBA": 4}[mode]
    pixels = _pixels(name, height, width, bands)
    image = Image.fromarray(pixels.squeeze(-1) if bands == 1 else pixels)
    if mode == "P":
        indexed = Image.frombytes("P", image.size, image.tobytes())
        indexed.putpalette(_pixels("palette", 256, 1, 3).tobytes())
        return indexed
    return image


def video_frames(name: str) -> NDArray[np.uint8]:
    """Frames uint8 [n, H, W, 3]."""
    count, _, height, width = VIDEOS[name]
    return np.stack([_pixels(f"{name} {number}", height, width, 3) for number in range(count)])


def sample(values: Tensor, step: int = 31) -> Tensor:
    """Every ``step``-th value: enough to hold a large tensor to, small enough to keep."""
    return values.detach().flatten()[::step].clone()


def _pixels(name: str, height: int, width: int, bands: int) -> NDArray[np.uint8]:
    return _random(name).randint(0, 256, (height, width, bands)).astype(np.uint8)


def _weight(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = _normal(key, shape)
    if key.endswith("text.mask"):
        return np.triu(np.full(shape, -np.inf, np.float32), 1)
    if key.endswith("log_logit_scale"):
        return np.asarray(np.log(10 + abs(values)), np.float32)
    if len(shape) == 1:
        norm = key.endswith(".weight")  # one-dimensional weights belong to norms
        return values * np.float32(0.2) + np.float32(norm)
    if key.endswith(("bias_k", "bias_v")):  # large, or one key among 229 would hardly be looked at
        return values * np.float32(3)
    if shape[0] == 1 or "token_embedding" in key:  # class tokens, positions, words
        return values * np.float32(0.3)
    gain = 1.5 if key.endswith("in_proj_weight") else 1  # attention that chooses, so that outputs follow inputs
    return values * np.float32(gain / np.sqrt(np.prod(shape[1:])))


def _normal(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(_random(name).standard_normal(shape), np.float32)


def _random(name: str) -> np.random.RandomState:
    return np.random.RandomState(crc32(name.encode()))
