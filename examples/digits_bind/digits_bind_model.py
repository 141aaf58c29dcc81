"""Three small towers into one space, and the front end of each: a tiny ImageBind for digits.

============  ==========================================  ==============================================
modality      raw sample → tensor [views, ...]            tower input → embedding [n, DIM], not yet unit
============  ==========================================  ==============================================
image         any PIL image → float [1, 1, 8, 8] in 0..1  the same pixels
text          any ``str`` → int64 [1, LENGTH] bytes       the same bytes
audio         `Waveform` → float [1, WINDOW] at RATE Hz   log-mel spectrogram [n, 1, MELS, FRAMES]
============  ==========================================  ==============================================

The spectrogram is made from the whole batch on the device, in float32 whatever dtype the towers run in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ibench.modalities import Modality, Waveform

DIM = 64
"""Length of an embedding."""

SIDE = 8
"""Pixels along each side of an image."""

LENGTH = 96
"""Bytes of a text, the padding included; what is longer is cut."""

RATE = 8_000
"""Samples per second."""

WINDOW = 10_240
"""Samples of a clip: 1.28 s. What is longer is cut to its middle, what is shorter gets silence on both sides."""

MELS = 40
"""Mel bands, from 0 Hz to RATE / 2."""

FFT, FRAME, HOP = 256, 200, 128
"""Samples of a transform, of a frame (25 ms) and between frames (16 ms)."""

FRAMES = WINDOW // HOP + 1
"""Frames of a clip."""

FLOOR = 1e-4
"""Power of the quietest sound still told from silence, relative to the loudest cell of the clip: -40 dB."""


def image_tensor(image: Image.Image) -> Tensor:
    """Any PIL image → [1, 1, SIDE, SIDE] in 0..1, bright ink on a dark ground as in the training data."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))  # Pillow would clip 16 bits to 8
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)  # block means made the 8 × 8 digits too
    pixels = torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255)
    if pixels[[0, 0, -1, -1], [0, -1, 0, -1]].mean() > 0.5:  # bright corners: dark ink on paper
        pixels = 1 - pixels
    return pixels[None, None]


def text_tensor(text: str) -> Tensor:
    """Any string → [1, LENGTH] of its lower-case UTF-8 bytes, 0 is padding; blanks around it mark where words end."""
    codes = f" {text.lower()} ".encode()[:LENGTH]
    return torch.tensor([list(codes.ljust(LENGTH, b"\0"))])


def audio_tensor(waveform: Waveform) -> Tensor:
    """Sound at any rate, of any length and number of channels → its middle WINDOW samples, mono, [1, WINDOW]."""
    if waveform.rate != RATE:
        from ibench.media.audio import resample  # here, for only other rates need it

        waveform = resample(waveform, RATE)
    mono = torch.from_numpy(waveform.samples.mean(axis=0, dtype=np.float32))
    spare = WINDOW - len(mono)
    return nn.functional.pad(mono, (spare // 2, spare - spare // 2))[None]  # a negative pad cuts


FRONT_ENDS: dict[Modality, Callable[..., Tensor]] = {
    Modality.IMAGE: image_tensor,
    Modality.TEXT: text_tensor,
    Modality.AUDIO: audio_tensor,
}
"""Raw sample → tensor [views, ...], by modality."""


def log_mel(clips: Tensor) -> Tensor:
    """Clips [n, WINDOW] → spectrograms [n, 1, MELS, FRAMES] in -1..1, from FLOOR to the loudest cell of each clip.

    Relative to its loudest cell a clip sounds the same at any volume, and silence is -1 however it was recorded.
    """
    window = torch.hann_window(FRAME, device=clips.device)
    spectra = torch.stft(clips, FFT, HOP, FRAME, window, return_complex=True)
    power = mel_filters(clips.device) @ spectra.abs().square()
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return (1 - 2 * (power / loudest + FLOOR).log() / math.log(FLOOR)).unsqueeze(1)


@cache
def mel_filters(device: torch.device) -> Tensor:
    """Triangular filters [MELS, FFT // 2 + 1], evenly spaced in mel = 2595 log10(1 + Hz / 700)."""
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, MELS + 2, device=device) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, FFT // 2 + 1, device=device)
    rising = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3 × 3 convolution; group norm, not batch norm, so that a sample's embedding never depends on its batch."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.ReLU())


class ImageTower(nn.Module):
    """Images [n, 1, SIDE, SIDE] → [n, DIM]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(block(1, 32), block(32, 64), block(64, 96, stride=2), nn.Flatten(), nn.Dropout(0.3))
        self.project = nn.Linear(96 * (SIDE // 2) ** 2, DIM)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.project(self.layers(images))
        return embeddings


class TextTower(nn.Module):
    """Bytes [n, length] → [n, DIM]: two convolutions see nine bytes at a time, the strongest answers are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 32, padding_idx=0)
        self.layers = nn.Sequential(
            nn.Conv1d(32, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, 64, 5, padding=2), nn.ReLU()
        )
        self.project = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, DIM))

    def forward(self, codes: Tensor) -> Tensor:
        answers = self.layers(self.embed(codes).transpose(1, 2))
        strongest = answers.masked_fill(codes.eq(0).unsqueeze(1), -math.inf).amax(dim=2)
        embeddings: Tensor = self.project(strongest)
        return embeddings


class AudioTower(nn.Module):
    """Spectrograms [n, 1, MELS, FRAMES] → [n, DIM]: mean and maximum over time, so that it matters little when."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(block(1, 24, stride=2), block(24, 48, stride=2), block(48, 96, stride=2))
        self.mix = nn.Sequential(nn.Conv1d(96 * MELS // 8, 128, 3, padding=1), nn.ReLU(), nn.Dropout(0.3))
        self.project = nn.Linear(2 * 128, DIM)

    def forward(self, spectrograms: Tensor) -> Tensor:
        states = self.mix(self.layers(spectrograms).flatten(1, 2))
        embeddings: Tensor = self.project(torch.cat([states.mean(dim=2), states.amax(dim=2)], dim=1))
        return embeddings


def towers() -> nn.ModuleDict:
    """The three towers with fresh weights, by modality name."""
    return nn.ModuleDict({"image": ImageTower(), "text": TextTower(), "audio": AudioTower()})
