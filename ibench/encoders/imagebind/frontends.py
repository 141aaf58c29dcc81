"""Raw samples → what goes to the device for each tower, sound excepted (`ibench.encoders.imagebind.audio`).

Each front end is a frozen dataclass: picklable, compared by value, called with a raw sample. Images stay bytes here;
`ImageBind.inputs` does the rest on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ibench.encoders.imagebind.clips import CLIP_SECONDS, clip_starts
from ibench.encoders.pixels import as_bytes
from ibench.errors import UnreadableSample
from ibench.modalities import DepthMap, ImuWindow, Video

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

NEAREST_DEPTH, FARTHEST_DEPTH = 0.01, 50.0
LARGEST_DISPARITY = 75.0


@dataclass(frozen=True)
class ImageView:
    """PIL image → uint8 [1, 3, size, size]: short side to ``size`` (bicubic), centre crop.

    Released code ``data.py``: the image is converted to RGB first, alpha and EXIF orientation are not looked at.
    """

    size: int

    def __call__(self, image: Image.Image) -> Tensor:
        return as_bytes(_centre_square(image.convert("RGB"), self.size))[None]


@dataclass(frozen=True)
class ThermalView:
    """PIL image → uint8 [1, 1, size, size]: grey, short side to ``size`` (bicubic), centre crop.

    The tower takes them as 0..1, without mean and std: the paper names none, and without them its LLVIP number is all
    but reached. Raises UnreadableSample for more than 8 bits a pixel, whose mapping to temperature nobody has
    published.
    """

    size: int

    def __call__(self, image: Image.Image) -> Tensor:
        if image.mode.startswith(("I", "F")):
            raise UnreadableSample(f"a thermal image of mode {image.mode}: ImageBind takes 8-bit thermal images")
        return as_bytes(_centre_square(image.convert("L"), self.size))[None]


class DepthConvention(NamedTuple):
    """The unit in which depth becomes disparity, and the mean and std that disparity has in that unit."""

    units_per_metre: int
    mean: float
    std: float
    interpolation: str


DEPTH_CONVENTIONS = {
    # Omnivore's authors (github.com/facebookresearch/omnivore, issue 12) divided the stored 16-bit depth of SUN RGB-D
    # by 1,000 without turning back its rotation by three bits: their depth is eight times the metres.
    ("raw", "omnivore"): DepthConvention(8, 0.0418, 0.0295, "bicubic"),
    # CodeBind (github.com/Visual-AI/CodeBind, datasets/data_transform_rgbd.py) divides by 8,000, and has another mean
    # for each data set; torchvision's Resize is bilinear unless told otherwise.
    ("metres", "codebind-sun"): DepthConvention(1, 0.318441, 0.11506188, "bilinear"),
    ("metres", "codebind-nyu"): DepthConvention(1, 0.23207855, 0.11506188, "bilinear"),
}
"""(units, statistics) of the views of depth → what they mean. Only these pairs belong together."""


@dataclass(frozen=True)
class DisparityView:
    """DepthMap → float32 [1, 1, size, size]: normalised disparity in one of the `DEPTH_CONVENTIONS`.

    Depth is put in the convention's unit and within 0.01..50, its disparity within 0.01..75 and over 75; missing
    depth (0 or NaN) becomes the nearest. Short side to ``size`` (antialiased), centre crop, mean and std.
    """

    size: int
    convention: DepthConvention

    def __call__(self, depth: DepthMap) -> Tensor:
        metres = torch.nan_to_num(torch.as_tensor(depth.metres, dtype=torch.float32), nan=0.0)
        distance = (metres * self.convention.units_per_metre).clamp(NEAREST_DEPTH, FARTHEST_DEPTH)
        disparity = depth.baseline * depth.focal / distance
        scaled = disparity.clamp(NEAREST_DEPTH, LARGEST_DISPARITY) / LARGEST_DISPARITY
        shape = _short_side_to(self.size, *scaled.shape)
        resized = F.interpolate(scaled[None, None], shape, mode=self.convention.interpolation, antialias=True)
        top, left = _centre(shape[0], self.size), _centre(shape[1], self.size)
        square = resized[..., top : top + self.size, left : left + self.size]
        return (square - self.convention.mean) / self.convention.std


@dataclass(frozen=True)
class TextIds:
    """Text → int64 [1, context]: CLIP byte-pair ids between start and end tokens, zeros after.

    An over-long text keeps its first ``context`` - 1 tokens and the end token, as the released code does since
    21 November 2025 (earlier it lost the end token, and with it the place where the embedding is read).
    """

    context: int

    def __call__(self, text: str) -> Tensor:
        ids: Tensor = _tokenizer()(text, context_length=self.context)
        return ids


@dataclass(frozen=True)
class ImuSteps:
    """ImuWindow → float32 [1, 6, steps]: the window resampled to ``steps`` by linear interpolation, NaN read as 0.

    The paper feeds 5 s as 2,000 steps (Appendix A) though Ego4D is recorded near 200 Hz, and names no units: which
    window a task cuts is the task's to say; a window of ``steps`` readings passes unchanged.
    """

    steps: int

    def __call__(self, window: ImuWindow) -> Tensor:
        readings = np.nan_to_num(np.asarray(window.readings, np.float32))
        if readings.ndim != 2 or readings.shape[0] != 6 or readings.shape[1] == 0:
            raise UnreadableSample(f"IMU readings of shape {readings.shape}: ImageBind takes (6, T), T at least 1")
        count = readings.shape[1]
        if count != self.steps:
            at = np.arange(self.steps) * (count / self.steps)
            readings = np.stack([np.interp(at, np.arange(count), channel) for channel in readings]).astype(np.float32)
        return torch.from_numpy(readings).unsqueeze(0)


@dataclass(frozen=True)
class VideoClips:
    """Video → float32 [clips · crops, 3, frames, size, size], the crops of a clip side by side.

    Clips of 2 s are spread evenly; of each, ``frames`` frames are taken evenly (two: its first and its last), scaled
    to a short side of ``size`` (bilinear), given CLIP mean and std, and cropped at both ends and the middle of the
    long side (``crops`` 3) or in the middle (1). Released code ``data.py`` with pytorchvideo over decord.
    """

    size: int
    frames: int
    clips: int
    crops: int

    def __call__(self, video: Video) -> Tensor:
        numbers = [number for clip in self._frame_numbers(video) for number in clip]
        shown = sorted(set(numbers))  # clips of a short video share their frames: each is decoded and scaled once
        pixels = video.frames([video.frame_times[number] for number in shown])
        scaled = self._scaled(torch.from_numpy(pixels))
        clips = scaled[[shown.index(number) for number in numbers]].view(self.clips, self.frames, *scaled.shape[1:])
        crops = [
            clips[..., top : top + self.size, left : left + self.size] for top, left in self._corners(*clips.shape[-2:])
        ]
        return torch.stack(crops, dim=1).flatten(0, 1).transpose(1, 2).contiguous()

    def _frame_numbers(self, video: Video) -> list[list[int]]:
        """The frames of each clip [start, end): from the first at or after its start to the last before its end."""
        count = len(video.frame_times)
        rate = count / video.seconds
        numbers = []
        for start in clip_starts(video.seconds, self.clips):
            first = min(_ceil(rate * start), count - 1)
            last = max(min(_ceil(rate * (start + CLIP_SECONDS)), count) - 1, first)
            # In float32 and cut off, as pytorchvideo's uniform_temporal_subsample does.
            numbers.append([first + int(step) for step in torch.linspace(0, last - first, self.frames)])
        return numbers

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Frames uint8 [n, H, W, 3] to float32 [n, 3, h, w] with the shorter side ``size``."""
        unit = pixels.permute(0, 3, 1, 2).float() / 255.0
        height, width = unit.shape[-2:]
        # The released code floors the quotient times the size: not quite what images get.
        if width < height:
            shape = (math.floor(height / width * self.size), self.size)
        else:
            shape = (self.size, math.floor(width / height * self.size))
        scaled = F.interpolate(unit, shape, mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
        return (scaled - mean) / std

    def _corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Top left corners of the crops."""
        spare_high, spare_wide = height - self.size, width - self.size
        top, left = math.ceil(spare_high / 2), math.ceil(spare_wide / 2)
        if self.crops == 1:
            return [(top, left)]
        if height > width:
            return [(0, left), (top, left), (spare_high, left)]
        return [(top, 0), (top, left), (top, spare_wide)]


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    """Short side to ``size``, bicubic with PIL's own antialiasing, then the centre."""
    height, width = _short_side_to(size, image.height, image.width)
    top, left = _centre(height, size), _centre(width, size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + size, top + size))


def _short_side_to(size: int, height: int, width: int) -> tuple[int, int]:
    """Height and width with the shorter one ``size`` and the longer cut to a whole pixel, as torchvision does."""
    if height < width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _centre(length: int, size: int) -> int:
    """Where a centre crop begins; halves go to the even pixel, as torchvision's do."""
    return round((length - size) / 2.0)


def _ceil(frames: Any) -> int:
    """The ceiling, deaf to the last digits: 30.000000000000004 frames are 30."""
    return math.ceil(float(frames) - 1e-6)


@cache
def _tokenizer() -> Any:
    """CLIP's byte-pair tokenizer, once in each process: open_clip's gives the ids of the released one."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
