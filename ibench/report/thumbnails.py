"""A sample as something to look at: small pictures, the lines of signals, or its text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from ibench.modalities import DepthMap, ImuWindow, RawSample, Region, Waveform

SIDE = 160  # pixels of the longer side of a picture
FRAME_SIDE = 260  # of one with a map over it, which has more to be seen
MOST_BYTES = 24_000  # of one picture; above it, quality goes down
_FRAMES = 4
_COLUMNS, _BANDS = 240, 64  # of a spectrogram
_MOST_SECONDS = 60.0  # of a sound that are drawn

# dark blue, teal, green, yellow: lightness rises evenly, so that near and far are told apart without colour as well
_RAMP = np.array([[25, 22, 79], [43, 75, 130], [32, 124, 137], [62, 168, 113], [163, 205, 84], [253, 232, 90]], float)
_NOTHING = (128, 128, 128)


@dataclass(frozen=True)
class Picture:
    """A picture as a ``data:`` URI, or lines over a width of 240 and a height of 40 as the ``d`` of SVG paths."""

    alt: str
    width: int
    height: int
    source: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thumbnail:
    """What stands for a sample: pictures, or a text, and a line that says what is seen."""

    pictures: tuple[Picture, ...] = ()
    text: str = ""
    note: str = ""


@singledispatch
def thumbnail(sample: RawSample) -> Thumbnail:
    """The thumbnail of a raw sample of any modality; what is none of the other types is a video."""
    seconds = sample.seconds
    frames = sample.frames([seconds * (place + 0.5) / _FRAMES for place in range(_FRAMES)])
    shown = [
        _encoded(Image.fromarray(frame), f"frame {place} of {_FRAMES}", SIDE * 3 // 4)
        for place, frame in enumerate(frames, 1)
    ]
    return Thumbnail(tuple(shown), note=f"{seconds:.1f} s, {frames.shape[2]}×{frames.shape[1]}")


@thumbnail.register
def _(sample: str) -> Thumbnail:
    return Thumbnail(text=sample)


@thumbnail.register
def _(sample: Image.Image) -> Thumbnail:
    return Thumbnail((_encoded(_eight_bits(sample), "picture"),), note=f"{sample.width}×{sample.height}")


@thumbnail.register
def _(sample: DepthMap) -> Thumbnail:
    metres = sample.metres
    known = np.isfinite(metres) & (metres > 0)
    if not known.any():
        return Thumbnail(note="no depth known")
    near, far = np.quantile(metres[known], [0.02, 0.98])
    # near is bright; where depth is missing it is grey
    share = 1 - np.clip((metres - near) / max(far - near, 1e-6), 0, 1)
    colours = _coloured(np.where(known, share, 0))
    colours[~known] = _NOTHING
    picture = _encoded(
        Image.fromarray(colours), f"depth in false colour, near is bright, from {near:.1f} to {far:.1f} m"
    )
    return Thumbnail((picture,), note=f"{near:.1f} to {far:.1f} m, near is bright")


@thumbnail.register
def _(sample: Waveform) -> Thumbnail:
    mono = sample.samples.mean(axis=0)[: int(_MOST_SECONDS * sample.rate)]
    note = f"{sample.seconds:.1f} s, {sample.rate / 1000:g} kHz"
    if not mono.size:
        return Thumbnail(note=note)
    wave = Picture("waveform", _COLUMNS, 40, lines=(_envelope(mono),))
    image = Image.fromarray(_coloured(_spectrogram(mono)))
    return Thumbnail((wave, _encoded(image, f"spectrogram up to {sample.rate / 2000:g} kHz", _COLUMNS)), note=note)


@thumbnail.register
def _(sample: ImuWindow) -> Thumbnail:
    halves = {"accelerometer": sample.readings[:3], "gyroscope": sample.readings[3:]}
    drawn = tuple(Picture(name, _COLUMNS, 40, lines=tuple(_curves(part))) for name, part in halves.items())
    return Thumbnail(drawn, note=f"{sample.readings.shape[1] / sample.rate:.1f} s; accelerometer, gyroscope")


def localised(frame: Image.Image, heat: NDArray[np.float64], boxes: Sequence[Region], best: Region) -> Thumbnail:
    """A frame with a map [height, width] of 0..1 laid over it, its source's boxes in white, the best window dashed.

    Dark lines under the white ones keep both to be seen on any ground.
    """
    shown = _eight_bits(frame)
    scale = FRAME_SIDE / max(shown.size)
    shown = shown.resize((max(round(shown.width * scale), 1), max(round(shown.height * scale), 1)))
    overlay = Image.fromarray(_coloured(heat)).resize(shown.size, Image.Resampling.BILINEAR)
    laid = Image.blend(shown, overlay, 0.45)
    draw = ImageDraw.Draw(laid)
    for box in boxes:
        edges = _edges(box, laid.size)
        draw.rectangle(edges, outline="black", width=4)
        draw.rectangle(edges, outline="white", width=2)
    _dashed(draw, _edges(best, laid.size), inset=3)
    picture = _encoded(
        laid, "frame with the map of scores, bright is high; the source in white, the best window dashed", FRAME_SIDE
    )
    return Thumbnail((picture,), note=f"{frame.width}×{frame.height}; source white, best window dashed")


def _edges(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The outermost pixels of a region that lies in a picture; one that reaches over its edge ends there."""
    across, down = size[0] - 1, size[1] - 1
    left, top, right, bottom = (min(max(share, 0.0), 1.0) for share in region)
    right, bottom = max(left, right), max(top, bottom)
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def _dashed(draw: ImageDraw.ImageDraw, edges: tuple[int, int, int, int], inset: int, dash: int = 6) -> None:
    """A dashed line within the edges, so that a solid one on them is seen as well."""
    left, top, right, bottom = edges[0] + inset, edges[1] + inset, edges[2] - inset, edges[3] - inset
    for colour, phase in (("black", dash), ("#ff5ab4", 0)):
        for x in range(left + phase, right, 2 * dash):
            for y in (top, bottom):
                draw.line((x, y, min(x + dash, right), y), fill=colour, width=2)
        for y in range(top + phase, bottom, 2 * dash):
            for x in (left, right):
                draw.line((x, y, x, min(y + dash, bottom)), fill=colour, width=2)


def _eight_bits(image: Image.Image) -> Image.Image:
    """As a screen shows it: more bits than eight are stretched over its range, transparency is laid on white."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        low, high = np.nanmin(values), np.nanmax(values)
        return Image.fromarray(np.uint8(255 * np.nan_to_num((values - low) / max(high - low, 1e-9))))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        laid = Image.new("RGBA", image.size, "white")
        laid.alpha_composite(image.convert("RGBA"))
        return laid.convert("RGB")
    return ImageOps.exif_transpose(image).convert("RGB")


def _encoded(image: Image.Image, alt: str, side: int = SIDE) -> Picture:
    """Small enough to stand in a page by the dozen; a picture of few pixels is enlarged, pixels and all."""
    longest = max(image.size)
    if longest * 2 <= side:
        times = side // longest
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    else:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = next(data for data in _jpegs(image) if len(data) <= MOST_BYTES)
    return Picture(alt, *image.size, f"data:image/jpeg;base64,{base64.b64encode(written).decode()}")


def _jpegs(image: Image.Image) -> Iterator[bytes]:
    """The picture in ever fewer bytes."""
    for quality in (85, 60, 35, 10):
        yield _jpeg(image, quality)
    while True:
        image = image.resize((max(image.width // 2, 1), max(image.height // 2, 1)))
        yield _jpeg(image, 10)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def _coloured(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Shares of 1 [...] as colours [..., 3], dark to bright."""
    stops = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(shares, stops, _RAMP[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def _spectrogram(mono: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power over the last 60 dB, 0 to 1, [bands, columns], high frequencies first; bands are evenly wide."""
    length = min(512, len(mono))
    starts = np.linspace(0, len(mono) - length, _COLUMNS).astype(int)
    frames = np.stack([mono[start : start + length] for start in starts]) * np.hanning(length)
    power = np.abs(np.fft.rfft(frames, 512)[:, 1:]) ** 2
    bands = power.reshape(_COLUMNS, _BANDS, -1).mean(axis=2).T
    decibels = 10 * np.log10(np.maximum(bands, 1e-12))
    return np.asarray(np.clip(1 + (decibels - decibels.max()) / 60, 0, 1)[::-1])


def _envelope(mono: NDArray[np.float32]) -> str:
    """The outline of a waveform: its highest and lowest value in each of as many columns."""
    parts = np.array_split(mono, min(_COLUMNS, len(mono)))
    highest = float(np.abs(mono).max()) or 1.0
    x = np.linspace(0, _COLUMNS, len(parts))
    top = [20 - 19 * float(part.max()) / highest for part in parts]
    bottom = [20 - 19 * float(part.min()) / highest for part in parts]
    return f"M{_points(x, top)}L{_points(x[::-1], bottom[::-1])}Z"


def _curves(rows: NDArray[np.float32]) -> Iterator[str]:
    """A line for each of some signals on one scale."""
    finite = np.nan_to_num(rows)
    low, high = float(finite.min()), float(finite.max())
    for row in finite:
        kept = row[np.linspace(0, len(row) - 1, min(_COLUMNS, len(row))).astype(int)]
        heights = 39 - 38 * (kept - low) / max(high - low, 1e-9)
        yield f"M{_points(np.linspace(0, _COLUMNS, len(kept)), heights.tolist())}"


def _points(x: Sequence[float] | NDArray[np.floating], y: Sequence[float]) -> str:
    return "L".join(f"{across:.1f} {down:.1f}" for across, down in zip(x, y, strict=True))
