"""Raw samples → tensors for the towers of LanguageBind, as the released processors make them but without chance.

Released code: ``languagebind/*/processing_*.py`` and, to the same effect, ``data/process_*.py``. What in it is random
is fixed here: the video processor flips half of all clips left to right (here none is) and in its first release crops
them anywhere (here, as later, in the centre), and the audio processor draws one start in each third of a long recording
(here it is the first of each third, which is what the comment ``# fixed`` beside the draw has). The first release of
the audio processor (commit 951a537) also divides by the standard deviation once and repeats the waveform instead of its
spectrogram; here it is twice, and the spectrogram, as from commit 55e5177. Each front end is a frozen dataclass:
picklable, compared by value, called with a raw sample, and gives one view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from ibench.encoders.filterbank import log_mel
from ibench.errors import UnreadableSample
from ibench.media.audio import resample
from ibench.modalities import DepthMap, Video, Waveform

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
NEAREST_METRES = 0.01


@dataclass(frozen=True)
class TextIds:
    """Text → int64 [1, context]: CLIP byte-pair ids with the folder's tokenizer, cut or padded to ``context``.

    A text that is too long keeps its end token.
    """

    tokenizer: Any
    context: int

    def __call__(self, text: str) -> Tensor:
        encoded = self.tokenizer(
            text, max_length=self.context, padding="max_length", truncation=True, return_tensors="pt"
        )
        ids: Tensor = encoded["input_ids"]
        return ids


@dataclass(frozen=True)
class ImageView:
    """PIL image → float32 [1, 1, 3, size, size], for images and, seen as images, thermal images.

    Converted to RGB (a grey image thrice), short side to ``size``, centre crop, CLIP mean and std. Raises
    UnreadableSample for more than 8 bits a pixel, whose mapping to 0..255 nobody has published.
    """

    size: int

    def __call__(self, image: Image.Image) -> Tensor:
        if image.mode.startswith(("I", "F")):
            raise UnreadableSample(f"an image of mode {image.mode}: LanguageBind takes 8 bits a pixel")
        return _square(TF.to_tensor(image.convert("RGB")), self.size)


@dataclass(frozen=True)
class DepthView:
    """DepthMap → float32 [1, 1, 3, size, size]: depth, not disparity, within 0.01..``farthest`` metres, over that.

    Where ``farthest`` is 0 (``max_depth: 0`` in a config), each map's own farthest stands in its place. Missing depth
    (0 or NaN) becomes the nearest. The map stands for all three colours; CLIP mean and std.
    """

    size: int
    farthest: float

    def __call__(self, depth: DepthMap) -> Tensor:
        metres = torch.nan_to_num(torch.as_tensor(depth.metres, dtype=torch.float32), nan=0.0)
        farthest = self.farthest or max(float(metres.max()), NEAREST_METRES)
        scaled = metres.clamp(NEAREST_METRES, farthest) / farthest
        return _square(scaled.expand(3, -1, -1), self.size)


@dataclass(frozen=True)
class VideoFrames:
    """Video → float32 [1, frames, 3, size, size]: frames spread evenly from the first to the last.

    CLIP mean and std, short side to ``size`` (bilinear), centre crop; never flipped.
    """

    size: int
    frames: int

    def __call__(self, video: Video) -> Tensor:
        numbers = np.linspace(0, len(video.frame_times) - 1, self.frames, dtype=int)
        shown, at = np.unique(numbers, return_inverse=True)  # a short video repeats frames: each is decoded once
        pixels = torch.from_numpy(video.frames([video.frame_times[number] for number in shown]))
        unit = TF.normalize(pixels[at].permute(0, 3, 1, 2).float() / 255.0, CLIP_MEAN, CLIP_STD)
        height, width = unit.shape[-2:]
        # pytorchvideo's short_side_scale, which the released code calls, floors the quotient times the size
        if width < height:
            shape = [math.floor(height / width * self.size), self.size]
        else:
            shape = [self.size, math.floor(width / height * self.size)]
        scaled = torch.nn.functional.interpolate(unit, shape, mode="bilinear", align_corners=False)
        cropped: Tensor = TF.center_crop(scaled, [self.size, self.size])
        return cropped[None]


@dataclass(frozen=True)
class Spectrogram:
    """Waveform → float32 [1, 1, 3, bins, frames]: Kaldi log-mel energies, three stretches as the three colours.

    The first channel at ``rate`` Hz. Of a recording with more than ``frames`` frames, the stretches that can be cut
    are split by their start into three parts of equal size, and the first of each part is taken; a shorter recording
    is repeated until it fills one stretch, which stands for all three. Normalised as (x - mean) / (2 std). Raises
    UnreadableSample for less than one frame (25 ms) of sound.
    """

    rate: int
    bins: int
    frames: int
    mean: float
    std: float

    def __call__(self, waveform: Waveform) -> Tensor:
        samples = torch.from_numpy(resample(waveform, self.rate).samples)
        energies = log_mel(samples[:1], self.rate, self.bins)[0]
        if not len(energies):
            raise UnreadableSample(f"{waveform.seconds * 1000:.1f} ms of sound: less than one frame of 25 ms")
        if len(energies) < self.frames:
            energies = energies.repeat(math.ceil(self.frames / len(energies)), 1)[: self.frames]
        starts = [
            int(part[0]) if len(part) else 0 for part in np.array_split(range(len(energies) - self.frames + 1), 3)
        ]
        stretches = torch.stack([energies[start : start + self.frames].T for start in starts])
        return ((stretches - self.mean) / (2 * self.std))[None, None]


def _square(pixels: Tensor, size: int) -> Tensor:
    """Channels in 0..1 [3, H, W] to [1, 1, 3, size, size]: short side to ``size``, centre crop, CLIP mean and std.

    Bicubic on the tensor and without antialiasing: what torchvision's Resize did to tensors in the release that
    LanguageBind pins (it became antialiased in torchvision 0.17).
    """
    resized = TF.resize(pixels, [size], InterpolationMode.BICUBIC, antialias=False)
    normalised: Tensor = TF.normalize(TF.center_crop(resized, [size, size]), CLIP_MEAN, CLIP_STD)
    return normalised[None, None]
